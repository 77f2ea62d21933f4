"""A bundle by which a job can be repeated on another machine, by people who have no access to this Ion.

    README.md        what to type
    test_repro.py    runs the module on the inputs, and compares
    module.json      what ran: command or image with its digest, variables, names of secrets
    expected.json    what the job left: hashes of files, insights, events; or how it failed
    in/              what the module saw
    program/         of a process: the files that its command names, as they are now; it starts there

Values of secrets are in none of them: where one that is known here stands in an input or in the event, `***` is
written in its place, and said so.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ion.adapters.executors.local.container import in_container
from ion.adapters.executors.log import Mask
from ion.handler.paths import fault_in
from ion.management.carry import Bring, carried, left
from ion.management.repro_text import README, TEST
from ion.management.verbs import JobVerbs
from ion.messaging import codec
from ion.model.event import Event, FileRef
from ion.model.job import Job
from ion.model.manifest import Manifest
from ion.model.module import Module, Revision
from ion.model.record import key_values

FORMATS = {".zip": "zip", ".tar.gz": "gztar"}
"""Ends of file names, and what `shutil` calls such archives."""
LEAST = 6
"""Characters of a value that is looked for: shorter ones stand everywhere."""
_PIECE = 1024 * 1024

Secrets = Callable[[Module], Mapping[str, str]]
"""The values of a module's secrets that are known here, by variable."""


async def write_bundle(jobs: JobVerbs, job: str, folder: Path, *, secrets: Secrets) -> list[str]:
    """Writes the bundle to `folder`, which must not exist.

    Returns:
        What its reader has to know, a sentence each; it is in the README too.

    Raises:
        NotFoundError: the job has no module, or its inputs are gone.
    """
    found, revision, bring = await carried(jobs, job)
    results = (await jobs.show(job=job)).results
    known = secrets(revision.module)
    bundle = _Bundle(folder, _Censor(known.values()))
    await bundle.inputs(found.event, bring)
    bundle.program(revision.module)
    bundle.json("module.json", _ran(revision))
    bundle.json("expected.json", _came_of(found, results))
    said = [*_to_set(revision.module), *_too_short(known), *bundle.said]
    bundle.text("test_repro.py", TEST.format(module=revision.module.name, job=found.id))
    bundle.text("README.md", _readme(found, revision, said))
    return said


class _Censor:
    """Takes secrets out of texts and files."""

    def __init__(self, values: Any) -> None:
        long = [value for value in values if len(value) >= LEAST]
        # In a document they stand as JSON writes them.
        self._values = {form for value in long for form in (value, *_quoted(value))}

    def mask(self) -> Mask:
        return Mask(self._values)

    def text(self, text: str) -> str:
        mask = self.mask()
        return (mask.feed(text.encode(errors="surrogateescape")) + mask.flush()).decode(errors="surrogateescape")

    def tree(self, value: Any) -> Any:
        """A JSON value without them, in keys, texts and numbers."""
        if isinstance(value, dict):
            return {self.text(key): self.tree(child) for key, child in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(child) for child in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float) and self.text(str(value)) != str(value):
            return "***"
        return value


class _Bundle:
    """The folder as it is written; nothing goes into it but through the censor."""

    def __init__(self, folder: Path, censor: _Censor) -> None:
        self._folder, self._censor = folder, censor
        self.said: list[str] = []
        for name in ("in/data", "program"):
            (folder / name).mkdir(parents=True)

    def text(self, name: str, text: str) -> None:
        (self._folder / name).write_text(self._censor.text(text))

    def json(self, name: str, value: Any) -> None:
        text = json.dumps(self._censor.tree(value), indent=2, ensure_ascii=False)
        (self._folder / name).write_text(f"{text}\n")

    async def inputs(self, event: Event, bring: Bring) -> None:
        """What `prepare` would lay out, the event's documents by the same codec."""
        refs = [await self._input(ref, bring) for ref in event.files]
        clean = msgspec.structs.replace(
            event,
            files=tuple(refs),
            data=self._censor.tree(event.data),
            subject=self._censor.text(event.subject),
            correlation_id=self._censor.text(event.correlation_id),
        )
        if clean.data != event.data:
            self.said.append("the event's data held a secret, which is `***` here: put your own in in/event.json")
        (self._folder / "in/event.json").write_bytes(codec.encode(clean))
        (self._folder / "in/eventmeta.json").write_bytes(msgspec.json.encode(key_values(clean.data)))

    async def _input(self, ref: FileRef, bring: Bring) -> FileRef:
        path, blob = self._censor.text(ref.path), self._censor.text(ref.blob)
        draft = self._folder / "draft"
        await bring(ref, draft)
        size, digest = self._copied(draft, f"in/data/{path}")
        draft.unlink()
        if ref.sha256 and digest != ref.sha256:
            self.said.append(f"the input {path} held a secret, which is `***` here: put your own in it")
        return msgspec.structs.replace(ref, path=path, blob=blob, size=size, sha256=digest)

    def program(self, module: Module) -> None:
        """The files below the module's folder that its command names."""
        if in_container(module):
            return
        top = Path(module.workdir or module.folder)
        named = [word for word in module.command if not fault_in(word) and (top / word).is_file()]
        for word in named:
            self._copied(top / word, f"program/{word}")
            (self._folder / "program" / word).chmod((top / word).stat().st_mode & 0o755 | 0o600)
        self.said.append(
            f"the folder program/ has {', '.join(named)} as it is now; put there what else the module needs"
            if named
            else "the module's program is not in here: put it into program/, or install it"
        )

    def _copied(self, source: Path, name: str) -> tuple[int, str]:
        """Size and hash of the copy."""
        mask, size, digest = self._censor.mask(), 0, hashlib.sha256()
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as content, place.open("xb") as copy:
            while True:
                piece = content.read(_PIECE)
                clean = mask.feed(piece) if piece else mask.flush()
                copy.write(clean)
                digest.update(clean)
                size += len(clean)
                if not piece:
                    return size, digest.hexdigest()


def _quoted(value: str) -> tuple[str, str]:
    return json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]


def _ran(revision: Revision) -> dict[str, Any]:
    module = revision.module
    return {
        "name": module.name,
        "revision": revision.id,
        "command": module.command,
        "image": revision.pinned_image if in_container(module) else "",
        "image_digest": revision.image_digest,
        "emits": module.emits,
        "env": module.env,
        "secrets": sorted(module.secrets),
        "timeout_s": module.timeout_s,
    }


def _came_of(job: Job, results: Manifest | None) -> dict[str, Any]:
    if results is not None:
        return left(results)
    return {"failure": job.failure.message if job.failure else f"none yet: the job is {job.state}"}


def _to_set(module: Module) -> list[str]:
    return [f"set the variable {variable} to the secret '{name}'" for variable, name in module.secrets.items()]


def _too_short(known: Mapping[str, str]) -> list[str]:
    return [
        f"the secret in {variable} is too short to be looked for: see for yourself that it is not in here"
        for variable, value in known.items()
        if len(value) < LEAST
    ]


def _readme(job: Job, revision: Revision, said: list[str]) -> str:
    module = revision.module
    ran = f"the image `{revision.pinned_image}`" if in_container(module) else f"`{' '.join(module.command)}`"
    came = "compares what it leaves with what the job left" if job.manifest else "passes once it does not fail any more"
    notes = "".join(f"- {sentence[0].upper()}{sentence[1:]}.\n" for sentence in said)
    settings = "".join(f"{variable}=... " for variable in module.secrets)
    return README.format(
        module=module.name, job=job.id, attempt=job.attempt, ran=ran, came=came, notes=notes, settings=settings
    )
