"""`ion schema`: lets editors complete and check ion.yaml."""

import json
from pathlib import Path

import click

from ion.cli.context import example
from ion.cli.output import here
from ion.config.schema import json_schema
from ion.errors import InvalidError

PIPELINE = "ion.yaml"
SCHEMA = Path(".ion") / "schema.json"
"""Beside the pipeline file, where its first line points."""


@click.command(epilog=example("ion schema", "ion schema -o -"))
@click.option("-o", "--output", metavar="FILE", help="Where to; - is standard output. [default: .ion/schema.json]")
def schema(output: str | None) -> None:
    """Write the JSON schema of pipeline files, for editors that know YAML schemas.

    Begin ion.yaml with `# yaml-language-server: $schema=.ion/schema.json`.
    """
    if output == "-":
        click.echo(schema_text(), nl=False)
        return
    file = Path(output) if output else pipeline_folder(Path.cwd()) / SCHEMA
    write_schema(file)
    click.echo(here(str(file)))


def pipeline_folder(start: Path) -> Path:
    """The nearest folder, here or above, that has a pipeline file; else `start`."""
    return next((folder for folder in (start, *start.parents) if (folder / PIPELINE).is_file()), start)


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema(file: Path) -> None:
    """Writes the schema to `file` and makes its folder. Raises InvalidError where that is not possible."""
    write_whole(file, schema_text().encode())


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file, whole or not at all, and makes its folder. Raises InvalidError where that is not possible."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as error:
        raise InvalidError(f"{file} cannot be written: {error.strerror}; choose another place") from error
