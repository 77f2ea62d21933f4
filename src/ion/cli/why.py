"""`ion job why`: why did this image get this label?"""

import shlex
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from ion.cli.context import example, manage
from ion.cli.job_view import FILES_SHOWN, fault, standing, view
from ion.cli.output import document, moment, plain
from ion.management.report_text import size
from ion.management.verbs.findings import Cause


@click.command(epilog=example("ion job why 3f2a91c0", "ion job why 3f2a91c0 --json"))
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, from the root to the job.")
def why(job_id: str, *, as_json: bool) -> None:
    """Show what a job came of, from the root event down: what ran, what it got, what it found and raised."""
    causes = manage(lambda ion: ion.findings.why(job=job_id))
    chain = causes[::-1]
    if as_json:
        document([_view(cause) for cause in chain])
        return
    for place, cause in enumerate(chain):
        after = chain[place + 1] if place + 1 < len(chain) else None
        _show(cause, after)


def _view(cause: Cause) -> dict[str, Any]:
    return {**msgspec.to_builtins(cause), "job": view(cause.job)}


def _show(cause: Cause, after: Cause | None) -> None:
    """A link of the chain: a line that names it, and what is known of it below."""
    job = cause.job
    click.echo(f"{moment(job.started_at or job.admitted_at)}  {plain(job.module)}  job {job.id}")
    command = shlex.join(cause.command)
    facts = [
        ("state", "" if job.state == "released" else standing(job)),
        ("waits", plain(cause.waits)),
        ("failure", fault(job.failure)),
        ("image", _image(cause)),
        ("command", plain(command, 200)),
        ("revision", job.revision),
        ("event", f"{plain(job.event.type)} {job.event.id}"),
        ("subject", plain(job.event.subject)),
    ]
    for name, value in facts:
        if value:
            click.echo(f"  {name:<9} {value}")
    _several("got", [f"{plain(one.path)}  {size(one.size)}  sha256:{one.sha256 or '?'}" for one in cause.inputs])
    _several("found", [f"{plain(one.key)} = {plain(one.value, 200)}" for one in cause.insights])
    if after is not None:
        click.echo(f"  {'raised':<9} {plain(after.job.event.type)} {after.job.event.id}")
        click.echo("  │")


def _image(cause: Cause) -> str:
    digest = cause.image_digest
    if not digest or "@" in cause.image:
        return plain(cause.image or digest)
    return plain(f"{cause.image}@{digest}" if cause.image else digest)


def _several(name: str, lines: Sequence[str]) -> None:
    for place, line in enumerate(lines[:FILES_SHOWN]):
        click.echo(f"  {'' if place else name:<9} {line}")
    if len(lines) > FILES_SHOWN:
        click.echo(f"  {'':<9} and {len(lines) - FILES_SHOWN} more; --json has all")
