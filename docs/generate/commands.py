"""The reference of commands, from click's tree of them."""

import textwrap
from collections.abc import Iterable, Iterator

import click

from ion.cli.main import main

WIDTH = 120
FRONT = """\
# Command reference

Every command with its usage, options and examples, as `ion COMMAND --help` says it. This page is written by `make docs`
from the commands themselves. [Commands](cli.md) shows them at work, with output and exit codes.

Not named at each command: `-h`, `--help`, and the [global options](#global-options), which each of them takes as well.
"""
GLOBAL = """\
## Global options

They stand before or after a command. They come from the environment and from `~/.ioncli.yaml` too: see
[which Ion a command works on](cli.md#which-ion-a-command-works-on).
"""


def page() -> str:
    root = click.Context(main, info_name="ion", terminal_width=WIDTH)
    commands = [(name, context) for name, context in _walk(root) if not isinstance(context.command, click.Group)]
    parts = [FRONT, *_contents(commands), GLOBAL, *_options(root)]
    parts += [part for name, context in _walk(root) for part in _command(name, context)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _walk(context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """The commands below, groups before what is in them."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context, terminal_width=WIDTH)
        yield below.command_path, below
        yield from _walk(below)


def _contents(commands: list[tuple[str, click.Context]]) -> Iterator[str]:
    yield table(
        ("command", "what"),
        [(f"[`{name}`](#{name.replace(' ', '-')})", of.command.get_short_help_str(WIDTH)) for name, of in commands],
    )


def _command(name: str, context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## `{name}`" if context.parent and context.parent.parent is None else f"### `{name}`"
    yield from _prose(command.help or "")
    if not isinstance(command, click.Group):
        yield f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
        yield from _options(context)
    if command.epilog:
        examples = textwrap.dedent(command.epilog.replace("\b\n", "").partition("Example:\n")[2])
        yield f"```sh\n{examples.rstrip()}\n```"


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; those that click is told to leave alone stay as they are."""
    for paragraph in textwrap.dedent(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield _verbatim(paragraph)
        else:
            yield textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _verbatim(paragraph: str) -> str:
    lines = textwrap.dedent(paragraph.partition("\n")[2])
    return f"```\n{lines.rstrip()}\n```"


def _options(context: click.Context) -> Iterator[str]:
    records = [option.get_help_record(context) for option in context.command.params]
    rows = [(f"`{names}`", " ".join(text.split())) for names, text in filter(None, records) if text]
    if rows:
        yield table(("option", "what"), rows)


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown; a bar within a cell is written so that it does not end it."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])
