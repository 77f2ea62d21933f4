"""`ion apply`: hands a pipeline's modules to an Ion, that of the file's `endpoint` if it has one."""

import os
from pathlib import Path

import click

from ion.cli.context import STORE_NAME, example, manage, target
from ion.cli.module_view import applied_view, change_lines, counted
from ion.cli.output import document, plain, remark
from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.management.verbs import Management
from ion.management.verbs.modules import Fate


@click.command(epilog=example("ion apply --dry-run", "ion apply ion.yaml --profile cluster --prune"))
@click.argument("file", type=click.Path(path_type=Path), default="ion.yaml")
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
@click.option("--dry-run", "dry", is_flag=True, help="Only tell what it would do.")
@click.option("--prune", is_flag=True, help="Remove the pipeline's modules that are no longer in the file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def apply(file: Path, profile: str, *, dry: bool, prune: bool, as_json: bool) -> None:
    """Register a pipeline's modules, all or none, and tell what became of each.

    Dispatchers that run take them up by themselves. The lines say what is new (+), changed (~) and removed (-).
    """
    pipeline = load_pipeline(file, profile=profile, environ=os.environ)
    _aim(pipeline)

    async def work(ion: Management) -> None:
        applied = await ion.modules.apply(modules=pipeline.modules, pipeline=pipeline.name, prune=prune, dry=dry)
        for warning in applied.warnings:
            remark(f"warning: {plain(warning)}")
        if as_json:
            document(applied_view(applied, dry=dry))
            return
        for change in applied.changes:
            if change.fate is not Fate.UNCHANGED:
                for line in change_lines(change):
                    click.echo(line)
        click.echo(f"{counted(applied.changes)}{' (nothing was changed)' if dry else ''}")

    manage(work)


def _aim(pipeline: Pipeline) -> None:
    """Where nobody says which Ion: the file's endpoint, else the store beside the file if there is one."""
    from ion.wiring import is_store

    given = click.get_current_context().find_root().params
    if any(given.get(name) for name in ("endpoint", "store", "context")):
        return
    beside = pipeline.folder / STORE_NAME
    if pipeline.settings.endpoint:
        given["endpoint"] = pipeline.settings.endpoint
    elif not target().named and is_store(beside):
        given["store"] = beside
