"""`ion job run-local` and `ion job repro`: a job's module, on its inputs, on this machine or on any."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ion.cli.context import example, manage
from ion.cli.output import document, here, plain, raw, remark, short, table
from ion.errors import ContractError, ExistsError, UnavailableError

if TYPE_CHECKING:  # heavy: only these commands need them
    from ion.management.verbs import JobVerbs, Management
    from ion.model.job import Failure
    from ion.model.manifest import Manifest
    from ion.model.module import Module, Revision
    from ion.wiring.trial import Trial

TIMED_OUT = 124
"""The exit code of a module that ran too long, as that of `timeout`."""


@click.command(
    "run-local", epilog=example("ion job run-local 3f2a91c0", "ion job run-local --keep 3f2a91c0 -- python3 detect.py")
)
@click.argument("job_id", metavar="ID")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Run it in this new folder, which stays.")
@click.option("--keep", is_flag=True, help="Keep the folder that it ran in, named after the job.")
@click.option("--json", "as_json", is_flag=True, help="What it left as one JSON document; its log on standard error.")
def run_local(job_id: str, command: tuple[str, ...], folder: Path | None, *, keep: bool, as_json: bool) -> None:
    """Run a job's module on its inputs here, and show what would be committed; nothing is stored.

    It runs as the job did, container or command, or by COMMAND as a process in this folder. Its secrets come from
    variables of this environment. The exit code is the module's.
    """

    async def work(ion: "Management") -> "tuple[Trial, Manifest | None]":
        found = await ion.jobs.show(job=job_id)
        with ExitStack() as stack:
            place = folder or (Path(f"{found.job.module}-{short(found.job.id)}") if keep else None)
            if place is None:
                place = Path(stack.enter_context(_temporary())) / "ion"
            elif place.exists():
                raise ExistsError(f"{place} exists already: name a new folder by --dir")
            trial = await _try(ion.jobs, found.job.id, command, place.absolute(), as_json=as_json)
        if folder or keep:
            remark(f"it ran in {here(str(place.absolute()))}")
        return trial, found.results

    trial, before = manage(work)
    if trial.failure is not None:
        _fail(trial.failure)
    assert trial.results is not None
    if as_json:
        document(_left(trial.results))
    else:
        _show(trial.results, before)


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="ion-local-", ignore_cleanup_errors=True)


async def _try(jobs: "JobVerbs", job_id: str, command: tuple[str, ...], place: Path, *, as_json: bool) -> "Trial":
    from ion.management.carry import carried
    from ion.wiring.trial import run_trial, secrets_here

    job, revision, bring = await carried(jobs, job_id)
    module = _here(revision, command)
    return await run_trial(
        job,
        module,
        place,
        image_digest=revision.image_digest,
        bring=bring,
        secrets=secrets_here(module, os.environ),
        environ=os.environ,
        tell=(lambda piece: click.echo(piece, err=True, nl=False)) if as_json else raw,
    )


def _here(revision: "Revision", command: tuple[str, ...]) -> "Module":
    """The module as it can run on this machine; says what is another."""
    import msgspec

    from ion.wiring.trial import fitted

    module, less = fitted(revision.module)
    for sentence in less:
        remark(f"{sentence}: it gets that")
    if command:
        return msgspec.structs.replace(
            module, command=command, image="", runtime="process", network=True, folder=str(Path.cwd()), workdir=""
        )
    if not module.image and not Path(module.workdir or module.folder).is_dir():
        remark(f"its folder {module.workdir or module.folder} is not here: it starts in this one")
        return msgspec.structs.replace(module, folder=str(Path.cwd()), workdir="")
    return module


def _fail(failure: "Failure") -> None:
    from ion.model.job import FailureClass

    if failure.kind is FailureClass.CONTRACT:
        raise ContractError(f"nothing would be committed: {failure.message}")
    if failure.kind is FailureClass.INFRASTRUCTURE:
        raise UnavailableError(f"the module could not run here: {failure.message}")
    remark(f"the module failed, so nothing would be committed: {failure.message}")
    code = failure.exit_code
    if code is None:
        code = TIMED_OUT if failure.kind is FailureClass.TIMEOUT else 1
    raise click.exceptions.Exit(code if code >= 0 else 128 - code)


def _show(results: "Manifest", before: "Manifest | None") -> None:
    from ion.management.report_text import size

    rows = [("file", plain(ref.path), size(ref.size)) for ref in results.files]
    rows += [("insight", plain(one.key), plain(one.value, 80)) for one in results.insights]
    for event in results.events:
        names = ", ".join(ref.path for ref in event.files)
        rows.append(("event", plain(event.type), plain(f"{event.subject}  {names}".strip(), 80)))
    if rows:
        table(("WOULD BE", "COMMITTED", ""), rows)
    remark(f"exit code 0; nothing was stored{_compared(results, before)}")


def _compared(results: "Manifest", before: "Manifest | None") -> str:
    from ion.management.carry import differences

    if before is None:
        return ""
    others = differences(results, before)
    return f"; the job left other {', '.join(others)}" if others else "; the job left the same"


def _left(results: "Manifest") -> dict[str, Any]:
    from ion.management.carry import left

    return {"exitCode": 0, **left(results)}


@click.command(epilog=example("ion job repro 3f2a91c0", "ion job repro 3f2a91c0 -o detect.zip"))
@click.argument("job_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A new folder, or a file NAME.zip or NAME.tar.gz."
)
def repro(job_id: str, output: Path | None) -> None:
    """Write a bundle by which a job can be repeated on another machine, with a test that does so.

    In it are the inputs, the event, what ran, and what came of it. No secret's value is in it.
    """
    from ion.management.repro import FORMATS, write_bundle
    from ion.wiring.trial import known_secrets

    async def work(ion: "Management") -> tuple[Path, list[str]]:
        found = await ion.jobs.get(job=job_id)
        name = f"{found.module}-{short(found.id)}"
        target = (output or Path(f"repro-{name}")).absolute()
        if target.exists():
            raise ExistsError(f"{target} exists already: name another by -o")
        packed = next((suffix for suffix in FORMATS if target.name.endswith(suffix)), "")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary() as scratch:
            bundle = Path(scratch) / (target.name.removesuffix(packed) or name)
            said = await write_bundle(
                ion.jobs, found.id, bundle, secrets=lambda module: known_secrets(module, os.environ)
            )
            if packed:
                made = shutil.make_archive(str(Path(scratch) / "bundle"), FORMATS[packed], scratch, bundle.name)
                shutil.move(made, target)
            else:
                shutil.move(bundle, target)
        return target, said

    target, said = manage(work)
    for sentence in said:
        remark(sentence)
    click.echo(here(str(target)))
    remark("next: README.md in it says how to run it")
