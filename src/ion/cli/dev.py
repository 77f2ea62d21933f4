"""`ion dev`: one module by hand, step by step, as in the 2018 original; the store is `~/.ion/dev`."""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ion.cli.context import example, start_logging
from ion.cli.output import document, here, plain, remark

if TYPE_CHECKING:  # heavy: only these commands need them
    from ion.dispatcher.stores import Stores
    from ion.management.development import Step
    from ion.management.development_runs import Run
    from ion.model.event import Event

T = TypeVar("T")

BASE_DIR = "ion"
SELECTED = "ion-module"


@click.group(epilog=example("ion dev module init --files cat.jpg", "ion dev module list"))
def dev() -> None:
    """Run a module by hand, step by step.

    `init` stores files to begin with, `prepare` makes the directory that a module sees, you run the module, `commit`
    stores what it left; then the next module. The store is ~/.ion/dev, or the one named by --store.
    """


@dev.group(epilog=example("ion dev module init --files cat.jpg"))
def module() -> None:
    """Prepare and commit modules; list those that were."""


@dev.group("event", epilog=example("ion dev event list --module-id 1"))
def events() -> None:
    """See the events that modules raised."""


@module.command(epilog=example("ion dev module init --files cat.jpg,dog.jpg"))
@click.option("--files", multiple=True, required=True, metavar="F,...", help="Files to begin with.")
@click.option("--correlation-id", default="dev", show_default=True, metavar="ID", help="The flow that it begins.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def init(files: tuple[str, ...], correlation_id: str, *, as_json: bool) -> None:
    """Store files that a first module can be run on, and print the id to name them by."""
    from ion.management.development import begin

    paths = [Path(name) for given in files for name in _listed(given)]
    event = _in_store(lambda stores: begin(stores, paths, correlation_id))
    if as_json:
        document({"parentEventId": event.id, "correlationId": event.correlation_id})
    else:
        click.echo(f"new parent event id: {event.id}")
    remark(f"next: ion dev module prepare --name NAME --event-types TYPE,... --event-id 1 --parent-event-id {event.id}")


def _listed(given: str) -> list[str]:
    """Taken apart at commas, unless there is a file that is called so."""
    if Path(given).exists():
        return [given]
    return [name for name in given.split(",") if name]


def _step(command: Callable[..., None]) -> Callable[..., None]:
    """The options by which a module's run is named."""
    for option in (
        click.option(
            "--base-dir", default=BASE_DIR, show_default=True, type=click.Path(path_type=Path), help="Its directory."
        ),
        click.option("--correlation-id", default="dev", show_default=True, metavar="ID", help="The flow."),
        click.option("--parent-event-id", required=True, metavar="ID", help="What it comes of: see `module list`."),
        click.option("--event-id", required=True, metavar="ID", help="An event that was raised here, or a new id."),
        click.option("--event-types", required=True, metavar="T,...", help="The event types that it may raise."),
        click.option("--name", required=True, help="The module's name."),
    ):
        command = option(command)
    return command


def _named(given: dict[str, Any]) -> "Step":
    from ion.management.development import Step

    types = tuple(filter(None, (one.strip() for one in given.pop("event_types").split(","))))
    return Step(event_types=types, **given)


@module.command(
    epilog=example("ion dev module prepare --name detect --event-types face --event-id 1 --parent-event-id 3f2a91c0")
)
@_step
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def prepare(base_dir: Path, *, as_json: bool, **given: Any) -> None:
    """Make the directory that the module is to see.

    With the id of an event that a module raised, its files are the inputs; with a new id, all that its parent left.
    """
    from ion.management.development import prepare as make

    step = _named(given)
    event = _in_store(lambda stores: make(stores, step, base_dir))
    if as_json:
        document({"baseDir": str(base_dir), "eventId": event.id, "files": [ref.path for ref in event.files]})
    else:
        click.echo(
            f"module prepared, now run/debug your module. Set environment variable $HANDLER_BASE_DIR to '{base_dir}'"
        )
    remark(f"next: HANDLER_BASE_DIR={shlex.quote(str(base_dir.absolute()))} YOUR COMMAND")
    remark(f"then: {_command('commit', step, base_dir)}")


def _command(verb: str, step: "Step", base_dir: Path) -> str:
    words = ["ion", "dev", "module", verb, "--name", step.name, "--event-types", ",".join(step.event_types)]
    words += ["--event-id", step.event_id, "--parent-event-id", step.parent_event_id]
    words += ["--correlation-id", step.correlation_id] if step.correlation_id != "dev" else []
    words += ["--base-dir", str(base_dir)] if str(base_dir) != BASE_DIR else []
    return shlex.join(words)


@module.command(
    epilog=example("ion dev module commit --name detect --event-types face --event-id 1 --parent-event-id 3f2a91c0")
)
@_step
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def commit(base_dir: Path, *, as_json: bool, **given: Any) -> None:
    """Store what the module left, all or nothing, and print the events that it raised; the directory goes."""
    from ion.management.development import commit as store
    from ion.wiring import actor

    step = _named(given)

    async def work(stores: "Stores") -> "Run":
        return await store(stores, step, base_dir, actor())

    run = _in_store(work)
    if as_json:
        document(_told(run))
    else:
        click.echo("module has been committed")
        _print_events(run.results.events)
    names = [event.id for event in run.results.events]
    identity = names[0] if names else "ID"
    remark(
        f"next: ion dev module prepare --name NAME --event-types TYPE,... --event-id {identity} "
        f"--parent-event-id {run.id}"
    )


def _print_events(raised: "Sequence[Event]") -> None:
    for event in raised:
        files = ", ".join(ref.path for ref in event.files)
        click.echo(f"{event.id}  {plain(event.type)}  {plain(files)}".rstrip())


@module.command("list", epilog=example("ion dev module list", "ion dev module list --root-event-id 3f2a91c0"))
@click.option("--root-event-id", default="", metavar="ID", help="This one and what came of it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_modules(root_event_id: str, *, as_json: bool) -> None:
    """Draw what was committed, each below what it came of."""
    from ion.management.development_runs import run_named, runs

    async def work(stores: "Stores") -> "tuple[list[Run], list[Run]]":
        every = await runs(stores)
        top = [await run_named(stores, root_event_id)] if root_event_id else _tops(every)
        return every, top

    every, tops = _in_store(work)
    if as_json:
        document([_told(run) for top in tops for run, _ in _below(top, every, "")])
        return
    if not tops:
        remark("no modules available; next: ion dev module init --files F,...")
    for top in tops:
        for run, indent in _below(top, every, ""):
            click.echo(f"{indent}{_line(run)}")


def _tops(every: "Sequence[Run]") -> "list[Run]":
    return [run for run in every if _parent_of(run, every) is None]


def _parent_of(run: "Run", every: "Sequence[Run]") -> "Run | None":
    """The run that raised its event; for one that a person made, the run that they made it of."""
    event = run.job.event
    if run.is_origin:
        return None
    makers = [one for one in every if event.id in {raised.id for raised in one.results.events}]
    found = makers or [one for one in every if one.job.event.id == event.parent_id]
    return found[-1] if found else None


def _below(run: "Run", every: "Sequence[Run]", indent: str) -> "list[tuple[Run, str]]":
    """A run and what came of it, with how far each stands in."""
    lines = [(run, indent)]
    for one in every:
        parent = _parent_of(one, every)
        if parent is not None and parent.job.id == run.job.id:
            lines += _below(one, every, f"{indent}  ")
    return lines


def _line(run: "Run") -> str:
    name = "init" if run.is_origin else run.job.module
    left = [ref.path for ref in run.results.files]
    raised = [] if run.is_origin else [event.type for event in run.results.events]
    told = "  ".join(filter(None, (", ".join(left), f"raised {', '.join(raised)}" if raised else "")))
    return f"{plain(run.id)}  {plain(name)}  {plain(told)}".rstrip()


def _told(run: "Run") -> dict[str, Any]:
    return {
        "moduleId": run.id,
        "name": run.job.module,
        "eventId": run.job.event.id,
        "parentEventId": run.job.event.parent_id,
        "correlationId": run.job.correlation_id,
        "job": run.job.id,
        "files": [ref.path for ref in run.results.files],
        "insights": {one.key: one.value if one.typed is None else one.typed for one in run.results.insights},
        "events": [
            {"id": event.id, "type": event.type, "subject": event.subject, "files": [ref.path for ref in event.files]}
            for event in run.results.events
        ],
    }


@module.command(epilog=example("ion dev module select --module-id 1"))
@click.option("--module-id", required=True, metavar="ID", help="As `module list` shows it.")
def select(module_id: str) -> None:
    """Bring a module's directory, as it left it, into the folder ion-module."""
    from ion.management.development_folder import select as bring
    from ion.management.development_runs import run_named

    async def work(stores: "Stores") -> None:
        await bring(stores, await run_named(stores, module_id), Path(SELECTED))

    _in_store(work)
    click.echo(f"module selected and available in directory {SELECTED}")


@events.command("list", epilog=example("ion dev event list --module-id 1 --json"))
@click.option("--module-id", required=True, metavar="ID", help="As `module list` shows it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of CloudEvents.")
def list_events(module_id: str, *, as_json: bool) -> None:
    """List the events that a module raised."""
    import msgspec

    from ion.management.development_runs import events_of, run_named
    from ion.messaging import codec

    raised = _in_store(lambda stores: _events(stores, module_id, run_named, events_of))
    if as_json:
        document([msgspec.Raw(codec.encode(event)) for event in raised])
    elif raised:
        _print_events(raised)
    else:
        remark("module raised no events")


async def _events(stores: "Stores", module_id: str, find: Any, raised: Any) -> "tuple[Event, ...]":
    found: tuple[Event, ...] = await raised(stores, await find(stores, module_id))
    return found


def _in_store(work: "Callable[[Stores], Awaitable[T]]") -> T:
    """Runs `work` on the store of `ion dev`, which is made when it is missing."""
    import asyncio

    from ion.wiring import open_store

    start_logging()
    chosen = click.get_current_context().find_root().params
    folder = (chosen.get("store") or Path.home() / ".ion/dev").absolute()

    async def run() -> T:
        remark(f"store: {here(str(folder))}")
        async with open_store(folder) as stores:
            return await work(stores)

    return asyncio.run(run())
