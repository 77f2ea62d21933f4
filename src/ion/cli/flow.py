"""`ion flow`: whole flows."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from ion.cli.context import example, manage, target
from ion.cli.output import document, facts, here, moment, plain, remark, table, write_file
from ion.errors import InvalidError
from ion.management.flows import FlowState, report_path
from ion.management.verbs import Management
from ion.management.verbs.flows import Ended
from ion.model.job import State
from ion.ports.ledger import Control

LIMIT = 20
REPORTS = "reports"
WELL = frozenset({State.RELEASED, State.SUPERSEDED, State.EXPIRED})


@click.group(epilog=example("ion flow list", "ion flow show 81d0", "ion flow report 81d0"))
def flow() -> None:
    """List, show, await, pause, resume, cancel and report flows.

    A flow is named by its correlation id or the beginning of it.
    """


@flow.command("list", epilog=example("ion flow list --limit 5"))
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="So many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_flows(limit: int, *, as_json: bool) -> None:
    """List flows, the newest first."""
    flows = manage(lambda ion: ion.flows.list(most=limit))
    if as_json:
        document([_view(one) for one in flows])
    else:
        table(("FLOW", "STARTED", "STATE", "JOBS", "OPEN", "DEAD"), [_row(one) for one in flows])


def _row(one: FlowState) -> tuple[str, ...]:
    counts = (str(one.flow.jobs), str(one.open), str(one.states.get(State.DEAD, 0)))
    return (plain(one.flow.correlation_id), moment(one.flow.started_at), one.standing, *counts)


def _view(one: FlowState) -> dict[str, object]:
    return {
        "correlation_id": one.flow.correlation_id,
        "started_at": one.flow.started_at,
        "state": one.standing,
        "priority": one.flow.priority,
        "jobs": one.flow.jobs,
        "open": one.open,
        "states": _in_order(one.states),
    }


def _in_order(states: Mapping[State, int]) -> dict[State, int]:
    """By the order of a job's life."""
    return {state: states[state] for state in State if state in states}


@flow.command(epilog=example("ion flow show 81d0", "ion flow show 81d0 --json"))
@click.argument("flow_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(flow_id: str, *, as_json: bool) -> None:
    """Show how a flow stands: its jobs by module and state."""
    found = manage(lambda ion: ion.flows.get(flow=flow_id))
    if as_json:
        document(_view(found) | {"modules": {one.module: _in_order(one.states) for one in found.modules}})
        return
    facts(
        [
            ("flow", plain(found.flow.correlation_id)),
            ("state", found.standing),
            ("started", moment(found.flow.started_at)),
            ("priority", str(found.flow.priority) if found.flow.priority else ""),
            ("jobs", f"{found.flow.jobs}, {found.open} open"),
        ]
    )
    shown = list(_in_order(found.states))
    click.echo()
    table(
        ("MODULE", *(state.upper() for state in shown)),
        [(plain(one.module), *(str(one.states.get(state, 0)) for state in shown)) for one in found.modules],
    )


@flow.command(epilog=example("ion flow pause 81d0"))
@click.argument("flow_id", metavar="ID")
def pause(flow_id: str) -> None:
    """Pause a flow: its running jobs end and commit, the others wait."""
    _control(flow_id, Control.PAUSED, "is paused")


@flow.command(epilog=example("ion flow resume 81d0"))
@click.argument("flow_id", metavar="ID")
def resume(flow_id: str) -> None:
    """Let a paused flow go on."""
    _control(flow_id, Control.NONE, "goes on")


@flow.command(epilog=example("ion flow cancel 81d0"))
@click.argument("flow_id", metavar="ID")
def cancel(flow_id: str) -> None:
    """Cancel a flow for good: nothing of it starts any more, and running jobs are ended."""
    _control(flow_id, Control.CANCELLED, "is cancelled")


def _control(flow_id: str, control: Control, words: str) -> None:
    found = manage(lambda ion: ion.flows.control(flow=flow_id, control=control))
    click.echo(f"flow {plain(found.correlation_id)} {words}")


@flow.command(
    context_settings={"ignore_unknown_options": True},  # a number below zero is none
    epilog=example("ion flow prioritise 81d0 10", "ion flow prioritise 81d0 -5"),
)
@click.argument("flow_id", metavar="ID")
@click.argument("priority", type=int, metavar="N")
def prioritise(flow_id: str, priority: int) -> None:
    """Have a flow's jobs claimed before those of lower priority: -1000 to 1000, 0 is usual."""
    found = manage(lambda ion: ion.flows.prioritise(flow=flow_id, priority=priority))
    click.echo(f"flow {plain(found.correlation_id)} has the priority {found.priority}")


@flow.command(epilog=example("ion flow wait 81d0", "ion flow wait 81d0 --timeout 1h && ion flow report 81d0"))
@click.argument("flow_id", metavar="ID")
@click.option("--timeout", metavar="DURATION", help="How long to wait at most; else for ever.")
def wait(flow_id: str, timeout: str | None) -> None:
    """Wait until a flow is quiet.

    Exit code 0 if all went well; 1 if a job died or was cancelled, if the flow cannot go on, or if the time is up.
    """
    from ion.cli.when import lasting

    within_s = lasting("--timeout", timeout) if timeout else None
    ended = manage(lambda ion: _within(ion, flow_id, within_s))
    if ended is None:
        click.echo(f"flow {plain(flow_id)} is not quiet after {timeout}", err=True)
        sys.exit(1)
    states = ended.state.states
    click.echo(f"flow {plain(ended.state.flow.correlation_id)}: {_words(states)}")
    if ended.stuck:
        remark(ended.stuck)
    sys.exit(0 if not ended.stuck and all(state in WELL for state in states) else 1)


async def _within(ion: Management, flow_id: str, seconds: float | None) -> Ended | None:
    """How the flow ended, if it did in time."""
    import asyncio

    try:
        async with asyncio.timeout(seconds):
            return await ion.flows.wait(flow=flow_id)
    except TimeoutError:
        return None


def _words(states: Mapping[State, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in _in_order(states).items()) or "no jobs"


@flow.command(epilog=example("ion flow report 81d0 -o flow.html"))
@click.argument("flow_argument", metavar="ID", required=False, default="")
@click.option("-c", "--correlation-id", default="", metavar="ID", help="The flow, or its beginning; the same as ID.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The page's file.")
def report(flow_argument: str, correlation_id: str, output: Path | None) -> None:
    """Write a page (HTML) that shows a flow whole, and print its path.

    Without -o it is written into the store's folder `reports`, or here if the Ion is a remote one.
    """
    if bool(flow_argument) == bool(correlation_id):
        raise InvalidError("say which flow to report: give its id once, as ID or by -c")
    store = target().store
    folder = store / REPORTS if store else Path.cwd()
    click.echo(here(str(manage(lambda ion: _report(ion, flow_argument or correlation_id, output, folder)))))


async def _report(ion: Management, flow_id: str, output: Path | None, folder: Path) -> Path:
    found = (await ion.flows.get(flow=flow_id)).flow.correlation_id
    if output is None:
        output = report_path(folder, found)
        output.parent.mkdir(exist_ok=True)
    if not output.parent.is_dir():
        raise InvalidError(f"the page {output} cannot be written: there is no folder {output.parent}")
    await write_file(output, ion.flows.report(flow=found))
    return output
