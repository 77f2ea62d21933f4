"""`ion init`: a small pipeline that runs at once, to learn from and to replace.

The files lie in `templates/` as they are written. The pipeline file comes last: a folder that has one is complete.
"""

import shlex
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from ion.cli.context import example
from ion.cli.schema import PIPELINE, SCHEMA, write_schema, write_whole
from ion.errors import ConflictError

FILES = ("sample.txt", "modules/words.sh", "modules/summary.py", "README.md", "gitignore", PIPELINE)
NAMES = {"gitignore": ".gitignore"}
COMMAND = "ion run ion.yaml --event text_added --file sample.txt"


@click.command(epilog=example("ion init hello"))
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Make a small pipeline in DIR (default: here) that runs at once."""
    if (folder / PIPELINE).exists():
        raise ConflictError(f"{folder.resolve()} has an {PIPELINE} already: choose another folder")
    contents = {folder / NAMES.get(name, name): _template(name).read_bytes() for name in FILES}
    for file, content in contents.items():
        if file.exists() and (not file.is_file() or file.read_bytes() != content):
            raise ConflictError(f"{file} is there already and would be overwritten: choose another folder")
    write_schema(folder / SCHEMA)
    for file, content in contents.items():
        write_whole(file, content)
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"Made {len(contents)} files in {folder}. Try:\n\n  {go}{COMMAND}")


def _template(name: str) -> Traversable:
    return resources.files("ion.cli").joinpath("templates", *name.split("/"))
