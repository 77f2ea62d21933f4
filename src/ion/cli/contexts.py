"""`ion context`: the Ions that a person works on, by name, in `~/.ioncli.yaml`; see client_config.py."""

import os
from collections.abc import Mapping

import click

from ion.cli.client_config import ClientConfig, load_config, use_context
from ion.cli.completion import contexts
from ion.cli.context import example, target
from ion.cli.output import document, facts, plain, table
from ion.cli.target import TIMEOUT_S, Target, in_use


@click.group(epilog=example("ion context list", "ion context use lab", "ion --context lab job list"))
def context() -> None:
    """List and choose contexts: the Ions that you work on, by name.

    They are written in ~/.ioncli.yaml (or what --config names), as `contexts: {lab: {endpoint: "lab:9000"}}`.
    """


def _config() -> ClientConfig:
    return load_config(click.get_current_context().find_root().params.get("config"))


@context.command("list", epilog=example("ion context list --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_contexts(*, as_json: bool) -> None:
    """List the contexts; the one in use has a star."""
    config = _config()
    used = in_use(click.get_current_context().find_root().params, os.environ, config)
    if as_json:
        document([{"name": name, "used": name == used, **said} for name, said in config.contexts.items()])
    else:
        rows = [("*" if name == used else "", plain(name), _where(said)) for name, said in config.contexts.items()]
        table(("", "NAME", "ION"), rows)


def _where(said: Mapping[str, str]) -> str:
    return plain(said.get("endpoint") or said.get("store") or "(as without it)")


@context.command(epilog=example("ion context use lab", "ion context use --none"))
@click.argument("name", required=False, default="", shell_complete=contexts)
@click.option("--none", "nothing", is_flag=True, help="Use no context.")
def use(name: str, *, nothing: bool) -> None:
    """Choose the context that commands use from now on."""
    if bool(name) == nothing:
        raise click.UsageError("say which context to use: its name, or --none")
    config = _config()
    use_context(config, name)
    click.echo(f"{config.file}: {f'context {plain(name)} is in use' if name else 'no context is in use'}")


@context.command(epilog=example("ion context show", "ion --context lab context show --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(*, as_json: bool) -> None:
    """Show which Ion a command would work on from here, and where each option was said."""
    chosen = target()
    shown = _shown(chosen)
    if as_json:
        document(shown | {"origins": dict(chosen.origins)})
        return
    pairs = [(name, plain(str(value))) for name, value in shown.items() if value is not None]
    facts(
        [
            (name, f"{value}  ({plain(chosen.origins[name])})" if name in chosen.origins else value)
            for name, value in pairs
        ]
    )


def _shown(chosen: Target) -> dict[str, str | float | None]:
    return {
        "context": chosen.context or None,
        "endpoint": chosen.endpoint or None,
        "store": str(chosen.store) if chosen.store else None,
        "timeout": f"{chosen.timeout_s:g} s" if chosen.timeout_s != TIMEOUT_S or "timeout" in chosen.origins else None,
        "certfile": str(chosen.certfile) if chosen.certfile else None,
        "keyfile": str(chosen.keyfile) if chosen.keyfile else None,
        "cacertfile": str(chosen.cacertfile) if chosen.cacertfile else None,
    }
