"""`ion graph`: a pipeline as a picture, and what is odd about it."""

import os
from pathlib import Path

import click

from ion.cli.context import example
from ion.config.load import load_pipeline
from ion.management import graph_text
from ion.management.graph import Graph

FORMATS = {"text": graph_text.tree, "mermaid": graph_text.mermaid, "dot": graph_text.dot}


@click.command(epilog=example("ion graph", "ion graph ion.yaml --format mermaid > pipeline.mmd"))
@click.argument("file", type=click.Path(path_type=Path), default="ion.yaml")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option("--event", "roots", multiple=True, metavar="TYPE", help="A type that you raise from outside.")
@click.option("--profile", default="", envvar="ION_PROFILE", help="A profile of the pipeline file.")
def graph(file: Path, form: str, roots: tuple[str, ...], profile: str) -> None:
    """Draw a pipeline: which events start which modules, and what those raise.

    What is odd about it is said on standard error: types that nobody raises or hears, modules that never start, cycles.
    """
    pipeline = load_pipeline(file, profile=profile, environ=os.environ)
    drawn = Graph.of(pipeline.modules, roots)
    for finding in drawn.problems():
        click.echo(f"{finding.severity}: {finding.message}", err=True)
    click.echo(FORMATS[form](drawn))
