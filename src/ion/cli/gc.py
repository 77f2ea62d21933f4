"""`ion gc`: deletes what retention no longer keeps, and what nobody needs."""

import click

from ion.cli.context import example, manage
from ion.management.report_text import many, size


@click.command("gc", epilog=example("ion gc --dry-run", "ion gc"))
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def gc_command(*, dry_run: bool) -> None:
    """Delete what the pipeline's `retention` no longer keeps, and stored files that no job needs.

    Only whole flows that have ended are looked at. Without `retention` only files that nobody needs go. `ion up` does
    the same once an hour if `retention` keeps anything for a time only.
    """
    collected = manage(lambda ion: ion.server.collect(dry=dry_run))
    would = "would be " if dry_run else ""
    click.echo(f"{many(collected.jobs, 'job')} {would}expired, {many(collected.forgotten, 'job')} {would}forgotten")
    click.echo(f"{many(collected.blobs, 'expired file')} {would}deleted: {size(collected.size)}")
    click.echo(f"{many(collected.strays, 'file')} that nobody needs {would}deleted: {size(collected.strays_size)}")
