"""The whole of a module's output, read and judged before anything of it is stored.

A refusal is one sentence that names the file, by its path in the job's directory, and the fault. It is final: the same
output would be refused again. So whatever could stop an event later, on its way or at the next module, is found here.

Event files are read one by one and large data is let go again: ten thousand of them are as many small values.
"""

import asyncio
import os
import posixpath
from collections.abc import Iterable
from typing import NoReturn

import msgspec

from ion.errors import ContractError, InvalidError
from ion.handler.event_files import Raised, parse_event, parse_insights
from ion.handler.inputs import Inputs
from ion.handler.outputs import Output, scan
from ion.handler.paths import clash_of, fault_in, shown
from ion.handler.reading import document, folder_exists, listed
from ion.handler.workspace import IN_DATA, INSIGHTS, OUT_DATA, OUT_EVENTS
from ion.messaging import codec, trace
from ion.messaging.nearest import nearest, suggestion
from ion.model.event import Event, FileRef, utc_now
from ion.model.ids import output_event_id
from ion.model.manifest import Insight
from ion.ports.executor import Assignment, Workspace

EVENT_FILE_MOST = 1024 * 1024
"""Bytes of one event file: what is larger is a file's business, and belongs into `out/data`."""
INSIGHTS_MOST = 16 * 1024 * 1024
"""Bytes of the insights: they become one record, and the narrowest document store ends those at 16 MiB."""
EVENTS_MOST = 100_000
"""Events of one job: each starts jobs of its own."""
FILES_MOST = 1_000
"""Files of one event: they travel in it, over buses and in rows of the ledger. More files take more events."""
SPILL_FROM = 16 * 1024
"""Bytes of an event's data beyond which it goes into a blob, so that rows stay under 64 KB (R3)."""
TOTAL_MOST = 64 * 1024 * 1024
"""Bytes of a manifest, which is read as one document."""

_TURN = 16


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be raised, judged, without its own files, which are not stored yet.

    `files` are paths of `out/data`, `inputs` those passed on. `spilled`: its data stays in the file until it is stored.
    """

    file: str
    event: Event
    files: tuple[str, ...]
    inputs: tuple[FileRef, ...]
    spilled: bool


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What a module left: the files of `out/data` by path, the events by file name, the insights."""

    outputs: dict[str, Output]
    drafts: list[Draft]
    insights: tuple[Insight, ...]


async def examine(assignment: Assignment, workspace: Workspace) -> Results:
    """Reads everything in `out/`. Raises ContractError at the first fault."""
    directory = os.fspath(workspace.directory)
    if not folder_exists(directory, "out"):
        raise ContractError("out is gone: a module may leave it empty, but must leave the folder")
    inputs = Inputs(workspace.directory, assignment.job.event)
    sees = workspace.environment.get("ION_DIR") or directory
    outputs = {output.path: output async for output in scan(directory, sees, inputs)}
    raw = document(f"{directory}/{INSIGHTS}", INSIGHTS, INSIGHTS_MOST)
    insights = () if raw is None else parse_insights(INSIGHTS, raw)
    drafts = await _Events(assignment, directory, outputs, inputs).read(room=TOTAL_MOST - len(raw or b""))
    return Results(outputs=outputs, drafts=drafts, insights=insights)


def read_event(directory: str, file: str) -> Raised:
    """One event file. Raises ContractError."""
    name = f"{OUT_EVENTS}/{shown(file)}"
    return parse_event(name, document(f"{directory}/{OUT_EVENTS}/{file}", name, EVENT_FILE_MOST) or b"")


class _Events:
    """The event files of one job."""

    def __init__(self, assignment: Assignment, directory: str, outputs: dict[str, Output], inputs: Inputs) -> None:
        self._job = assignment.job
        self._module = assignment.revision.module
        self._directory = directory
        self._outputs = outputs
        self._inputs = inputs
        self._source = codec.module_source(self._module.name)
        self._traceparent = trace.child(self._job.event.traceparent, self._job.id)
        self._now = utc_now()

    async def read(self, room: int) -> list[Draft]:
        """Every event, in the order of the file names. `room` is how many bytes their data may take in all."""
        drafts = []
        for count, file in enumerate(_event_files(self._directory), 1):
            if count % _TURN == 0:
                await asyncio.sleep(0)
            draft, size = await self._draft(file)
            room -= size
            if room < 0:
                _refuse(
                    f"{OUT_EVENTS}/{shown(file)}",
                    f"brings the job's events and insights over {TOTAL_MOST} bytes in all",
                )
            drafts.append(draft)
        return drafts

    async def _draft(self, file: str) -> tuple[Draft, int]:
        """The event of one file, and how many bytes of data it keeps."""
        name = f"{OUT_EVENTS}/{shown(file)}"
        raised = read_event(self._directory, file)
        self._check_type(name, raised.type)
        files = tuple(dict.fromkeys(self._output(name, path) for path in raised.files))
        inputs = await self._passed_on(name, raised, files)
        if len(files) + len(inputs) > FILES_MOST:
            _refuse(name, f"names {len(files) + len(inputs)} files; raise several events of at most {FILES_MOST}")
        event, size = self._event(name, file, raised)
        if size > SPILL_FROM:
            event, size = msgspec.structs.replace(event, data={}), 0
            return Draft(file=file, event=event, files=files, inputs=inputs, spilled=True), size
        return Draft(file=file, event=event, files=files, inputs=inputs, spilled=False), size

    def _check_type(self, name: str, event_type: str) -> None:
        if event_type.startswith("ion."):
            _refuse(name, f"raises '{shown(event_type)}', but types that begin with 'ion.' are Ion's own")
        if event_type not in self._module.emits:
            known = suggestion(event_type, self._module.emits)
            _refuse(name, f"raises '{shown(event_type)}', which the module does not declare in its emits; {known}")

    def _output(self, name: str, path: str) -> str:
        """The path of a file of `out/data` as the scan knows it."""
        plain = posixpath.normpath(path) if path.startswith("./") else path
        if plain in self._outputs:
            return plain
        if fault := fault_in(plain):
            _refuse(name, f"names the file '{shown(path)}', but {fault}")
        meant = _meant(plain, self._outputs)
        raise ContractError(f"{name} names the file '{shown(path)}', which is not in {OUT_DATA}{meant}")

    async def _passed_on(self, name: str, raised: Raised, files: tuple[str, ...]) -> tuple[FileRef, ...]:
        """The inputs that an event passes on, without those that a link among its files passes on already."""
        refs = []
        for path in dict.fromkeys(raised.inputs):
            ref = await self._inputs.forward(path, name)
            if ref is None:
                meant = _meant(path, self._inputs.paths)
                _refuse(name, f"passes on '{shown(path)}', which is not in {IN_DATA}{meant}")
            if path not in files or self._outputs[path].forwards != ref:
                refs.append(ref)
        if refs and (clash := clash_of((*files, *(ref.path for ref in refs)))):
            _refuse(name, f"names {clash} among its files and inputs")
        return tuple(refs)

    def _event(self, name: str, file: str, raised: Raised) -> tuple[Event, int]:
        """The event as it will be but for its files, and the size of its data; tried out on the wire's codec."""
        parent = self._job.event
        event = Event(
            id=output_event_id(self._job.id, file),
            type=raised.type,
            source=self._source,
            correlation_id=parent.correlation_id,
            parent_id=parent.id,
            time=self._now,
            subject=raised.subject or parent.subject,
            traceparent=self._traceparent,
            hops=parent.hops + 1,
            data=raised.data,
        )
        try:
            codec.encode(event)
            return event, len(msgspec.json.encode(raised.data))
        except InvalidError as error:
            raise ContractError(f"{name} cannot be raised: {error}") from error


def _event_files(directory: str) -> list[str]:
    """The names of the event files, in order. What else lies there would be lost unseen, so it is refused."""
    if not folder_exists(directory, OUT_EVENTS):
        return []
    with listed(f"{directory}/{OUT_EVENTS}", OUT_EVENTS) as entries:
        names = []
        for entry in entries:
            name = f"{OUT_EVENTS}/{shown(entry.name)}"
            if not entry.is_file(follow_symlinks=False):
                _refuse(name, "is not a file: each event is a file of its own there")
            if not entry.name.endswith(".json") or entry.name.startswith("."):
                _refuse(name, "is not named NAME.json, as event files are")
            if fault := fault_in(entry.name):
                _refuse(name, f"cannot be raised: {fault}")
            names.append(entry.name)
            if len(names) > EVENTS_MOST:
                _refuse(OUT_EVENTS, f"holds more than {EVENTS_MOST} events: let modules downstream raise some of them")
    return sorted(names)


def _meant(path: str, known: Iterable[str]) -> str:
    names = list(known)
    found = nearest(path, names) if len(names) <= 1000 else ""
    return f"; did you mean '{shown(found)}'?" if found else ""


def _refuse(name: str, fault: str) -> NoReturn:
    raise ContractError(f"{name} {fault}")
