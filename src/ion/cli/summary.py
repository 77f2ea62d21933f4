"""The end of a run in a few lines: how many jobs, which failed, which files came out, and where to look next."""

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from ion.cli.output import here, plain, short, table
from ion.cli.target import choose
from ion.dispatcher.stores import Stores
from ion.errors import IonError
from ion.management.report_text import size
from ion.management.run import Result, outputs
from ion.model.job import State

FILES_SHOWN = 10
FAILED_SHOWN = 20
"""Of ten thousand failed jobs a person reads the first few; the table of all is a command away."""


async def summarise(result: Result, stores: Stores, store: Path) -> None:
    """Prints what became of a flow in the store at `store`."""
    click.echo()
    counts: dict[State, int] = {}
    for (_, state), count in result.tally.items():
        counts[state] = counts.get(state, 0) + count
    words = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if count)
    click.echo(f"flow {plain(result.correlation_id)}: {words or 'no jobs'}")
    if result.stuck:
        click.echo(f"  {result.stuck}")
    for job in result.failed[:FAILED_SHOWN]:
        why = plain(job.failure.message) if job.failure else job.state.value
        about = "  ".join(filter(None, (plain(job.module), short(job.id), plain(job.event.subject))))
        click.echo(f"  ✗ {about}: {why}")
    if len(result.failed) > FAILED_SHOWN:
        click.echo(f"  … and {len(result.failed) - FAILED_SHOWN} more: ion job list --state dead")
    await _files(result.correlation_id, stores)
    if stores.ledger.guarantees.durable:  # else there is nothing left to look at
        _next(result, store)


async def _files(correlation_id: str, stores: Stores) -> None:
    shown, total = await outputs(stores.ledger, stores.blobs, correlation_id, FILES_SHOWN)
    if not shown:
        return
    click.echo()
    rows = [(plain(o.module), plain(o.file.path), size(o.file.size), _place(o.uri)) for o in shown]
    table(("MODULE", "FILE", "SIZE", "STORED AS"), rows)
    if total > len(shown):
        click.echo(f"… and {total - len(shown)} more")


def _place(uri: str) -> str:
    """A stored file as it can be opened from here."""
    parts = urlsplit(uri)
    return here(unquote(parts.path)) if parts.scheme == "file" else uri


def _next(result: Result, store: Path) -> None:
    """Commands that go on from here, on this store wherever they are typed."""
    flow = short(result.correlation_id)
    ion = "ion" if _is_found(store) else f"ion --store {shlex.quote(here(str(store)))}"
    click.echo()
    if result.failed:
        click.echo(f"  {ion} job logs {short(result.failed[0].id)}        the log of the first that failed")
        click.echo(f"  {ion} job retry {short(result.failed[0].id)}       queue it again, then `ion run`")
    click.echo(f"  {ion} trace flow -c {flow} --tree   what led to what")
    click.echo(f"  {ion} flow report {flow}            a page of it all")


def _is_found(store: Path) -> bool:
    """Whether commands work on this store if nobody says which."""
    try:
        return choose({}, os.environ, Path.cwd()).store == store
    except IonError:
        return False
