"""`ion run`: raises root events, runs the pipeline until the flow is quiet, and says what came out."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ion.cli.context import example, serving_store, start_logging
from ion.cli.hosting import STOP_GRACE_S, Host, hosting
from ion.cli.live import reporter
from ion.cli.output import here, remark
from ion.cli.roots import require_heard, require_taken, root_events, warn
from ion.cli.show import Show
from ion.cli.summary import summarise
from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.management.events import RootEvent, preview, raise_events
from ion.management.graph import Graph
from ion.management.report_text import many
from ion.management.run import Result, conclude, open_flows, until_quiet
from ion.model.ids import new_id
from ion.model.job import Job
from ion.ports.ledger import Ledger

GATEWAY = "cli"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to do: a pipeline and the root events (none: go on). Without `retries` a failure is final."""

    pipeline: Pipeline
    roots: Sequence[RootEvent]
    store: Path
    retries: bool
    as_json: bool
    plain: bool


@click.command(
    epilog=example(
        "ion run ion.yaml --event frontapi.new_link --set url=https://example.com/cat.mp4",
        "ion run ion.yaml --event photo --each 'img/*.jpg'",
        "ion run    (goes on with what an earlier run left open)",
    )
)
@click.argument("file", type=click.Path(path_type=Path), default="ion.yaml")
@click.option("--event", "event_type", metavar="TYPE", help="Type of the root events; without it, open flows go on.")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="A key/value of every root event.")
@click.option("--file", "files", multiple=True, type=click.Path(path_type=Path), help="A file of every root event.")
@click.option("--each", multiple=True, metavar="GLOB", help="One root event for each file that matches, in one flow.")
@click.option("--each-set", multiple=True, metavar="KEY=VALUE", help="One root event for each value, in one flow.")
@click.option("--subject", default="", help="What the root events are about; else their file's name or URL.")
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--retries/--no-retries", default=False, help="Use the file's retries; by default a failure is final.")
@click.option("--plain", "as_lines", is_flag=True, help="Plain lines, even on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line, the result last.")
def run(
    file: Path, event_type: str | None, profile: str, *, retries: bool, as_lines: bool, as_json: bool, **given: Any
) -> None:
    """Run a pipeline until its flow is quiet.

    Exit code 0 if every job of the flow was released, 1 if any was not, 2 on bad input.
    """
    start_logging()
    pipeline = load_pipeline(file, profile=profile, environ=os.environ)
    store = serving_store(pipeline.folder)
    roots = root_events(event_type, **given)
    graph = Graph.of(pipeline.modules, [event_type] if event_type else [])
    warn(graph)
    if event_type is not None:
        require_heard(graph, event_type)
    require_taken(pipeline.modules, preview(roots, gateway=GATEWAY))
    plan = Plan(pipeline=pipeline, roots=roots, store=store, retries=retries, as_json=as_json, plain=as_lines)
    sys.exit(asyncio.run(_carry_out(plan)))


async def _carry_out(plan: Plan) -> int:
    """Runs the plan; the exit code."""
    remark(f"store: {here(str(plan.store))}")
    ours: set[str] = set()

    def final(job: Job) -> bool:
        return not plan.retries and job.correlation_id in ours

    async with hosting(plan.store, plan.pipeline, grace_s=STOP_GRACE_S, strict=True, final=final) as host:
        flows = await _flows(plan, host, ours)
        types = sorted({root.type for root in plan.roots})
        shown = reporter(plan.pipeline.modules, types, as_json=plan.as_json, plain=plan.plain)
        async with Show(host, shown, flows) as show:
            results = await host.until(_results(host.stores.ledger, flows), *show.tasks)
            if results is None:
                remark(f"stopping: running jobs have {STOP_GRACE_S:g} s to end; once more gives them up now")
                await host.stop()
            await show.finish(results or ())
        if results is not None and not plan.as_json:
            for result in results:
                await summarise(result, host.stores, plan.store)
        if others := [job for job in host.running if results is not None and job.correlation_id not in ours]:
            remark(f"{many(len(others), 'job')} of other flows may run here for {STOP_GRACE_S:g} s more")
    if results is None:
        remark("stopped; `ion run` without --event goes on with what is open")
        return 128 + host.stopped_by
    return 0 if all(result.ok for result in results) else 1


async def _flows(plan: Plan, host: Host, ours: set[str]) -> Sequence[str]:
    """The flows to run to their end, the new one or all that are open; `ours` has them before a job of them starts."""
    ledger = host.stores.ledger
    waiting = await open_flows(ledger)
    if not plan.roots:
        remark(f"going on with {many(len(waiting), 'open flow')}" if waiting else "no flow is open; raise an event")
        ours.update(waiting)
        return waiting
    if waiting:
        remark(f"beside it, {many(len(waiting), 'open flow')} of this store will go on")
    flow = new_id()
    ours.add(flow)
    roots = [msgspec.structs.replace(root, correlation_id=flow) for root in plan.roots]
    await raise_events(roots, gateway=GATEWAY, ledger=ledger, blobs=host.stores.blobs)
    return (flow,)


async def _results(ledger: Ledger, flows: Sequence[str]) -> Sequence[Result]:
    return [await conclude(ledger, flow, await until_quiet(ledger, flow)) for flow in flows]
