"""`ion completion`: what a shell needs to complete commands, and the words that only we know.

A key press may not wait for a network, so names of modules come from a store here that is one SQLite file, and from
nowhere else. Whatever goes wrong completes nothing.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.context import example
from ion.errors import IonError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_ION_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=example(
        "ion completion bash > ~/.local/share/bash-completion/completions/ion",
        "ion completion zsh > ~/.zfunc/_ion",
        "ion completion fish > ~/.config/fish/completions/ion.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, states and names of modules and contexts."""
    from click.shell_completion import get_completion_class

    from ion.cli.main import main

    made = get_completion_class(shell)
    assert made is not None, shell
    click.echo(made(main, {}, "ion", VARIABLE).source())


def contexts(context: click.Context, _: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of contexts."""
    from ion.cli.client_config import load_config

    try:
        names = load_config(context.find_root().params.get("config")).contexts
    except IonError:
        return []
    return _items(sorted(names), incomplete)


def modules(context: click.Context, _: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of registered modules."""
    import asyncio

    from ion.cli.target import choose

    try:
        store = choose(context.find_root().params, os.environ, Path.cwd()).store
        names = asyncio.run(_modules(store)) if store else []
    except IonError:
        return []
    return _items(names, incomplete)


async def _modules(store: Path) -> list[str]:
    from ion.wiring import is_store, open_store
    from ion.wiring.remembered import remembered

    if not is_store(store) or remembered(store).ledger.kind != "sqlite":
        return []
    async with open_store(store) as stores:
        return sorted(one.module.name for one in await stores.ledger.modules())


def _items(names: list[str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
