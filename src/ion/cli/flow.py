"""`ion flow`: whole flows."""

from pathlib import Path

import click

from ion.cli.context import Place, example, in_store
from ion.cli.output import document, here, moment, plain, table
from ion.errors import InvalidError
from ion.management.flows import FlowState, control_flow, find_flow, latest_flows, report_path
from ion.model.job import State
from ion.ports.ledger import Control

LIMIT = 20
REPORTS = "reports"


@click.group(epilog=example("ion flow list", "ion flow report 81d0"))
def flow() -> None:
    """List, pause, resume, cancel and report flows.

    A flow is named by its correlation id or the beginning of it.
    """


@flow.command("list", epilog=example("ion flow list --limit 5"))
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="So many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_flows(limit: int, *, as_json: bool) -> None:
    """List flows, the newest first."""

    async def work(place: Place) -> None:
        flows = [one async for one in latest_flows(place.ledger, limit)]
        if as_json:
            document([_view(one) for one in flows])
        else:
            table(("FLOW", "STARTED", "STATE", "JOBS", "OPEN", "DEAD"), [_row(one) for one in flows])

    in_store(work)


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
        "states": dict(one.states),
    }


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
    from ion.wiring import actor

    found = in_store(lambda place: control_flow(place.ledger, flow_id, control, actor()))
    click.echo(f"flow {plain(found.correlation_id)} {words}")


@flow.command(epilog=example("ion flow report 81d0 -o flow.html"))
@click.argument("flow_argument", metavar="ID", required=False, default="")
@click.option("-c", "--correlation-id", default="", metavar="ID", help="The flow, or its beginning; the same as ID.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The page's file.")
def report(flow_argument: str, correlation_id: str, output: Path | None) -> None:
    """Write a page (HTML) that shows a flow whole, and print its path.

    Without -o it is written into the store's folder `reports`.
    """
    if bool(flow_argument) == bool(correlation_id):
        raise InvalidError("say which flow to report: give its id once, as ID or by -c")
    click.echo(here(str(in_store(lambda place: _report(place, flow_argument or correlation_id, output)))))


async def _report(place: Place, flow_id: str, output: Path | None) -> Path:
    from ion.management.report import write_report

    found = (await find_flow(place.ledger, flow_id)).correlation_id
    if output is None:
        output = report_path(place.folder / REPORTS, found)
        output.parent.mkdir(exist_ok=True)
    if not output.parent.is_dir():
        raise InvalidError(f"the page {output} cannot be written: there is no folder {output.parent}")
    await write_report(found, ledger=place.ledger, documents=place.documents, blobs=place.blobs, output=output)
    return output
