"""`ion module`: modules one by one; `ion apply` does a whole pipeline's. How they look is in module_view.py."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ion.cli.completion import modules
from ion.cli.context import example, manage, target
from ion.cli.module_view import change_lines, described, history_rows, row, state_view, view
from ion.cli.output import document, facts, plain, raw, remark, table
from ion.errors import InvalidError, NotFoundError
from ion.management.checks import LOCAL_FILE, PROVIDERS, words_of
from ion.management.created import INSTANCES, MINUTES, PROVIDER, RETRIES, created, deployed_name
from ion.management.verbs import Management
from ion.management.verbs.modules import Change
from ion.model.job import Job, State
from ion.model.module import Module
from ion.ports.ledger import JobFilter

F = TypeVar("F", bound=Callable[..., Any])


def named(command: F) -> F:
    """A module by its name, as an argument or by the original's `-n`; the command gets it as `name`."""
    option = click.option(
        *("-n", "--name", "option"),
        default="",
        metavar="NAME",
        shell_complete=modules,
        callback=_chosen,
        expose_value=False,
        help="The same as NAME.",
    )
    argument = click.argument(
        "name", metavar="[NAME]", required=False, default="", is_eager=True, shell_complete=modules
    )
    return argument(option(command))


def _chosen(context: click.Context, _: click.Parameter, option: str) -> None:
    if context.resilient_parsing:  # a shell completes it
        return
    argument = context.params.get("name", "")
    if bool(option) == bool(argument):
        raise InvalidError("say which module: give its name once, as NAME or by -n")
    context.params["name"] = argument or option


def as_json(text: str = "One JSON document.") -> Callable[[F], F]:
    return click.option("--json", "as_json", is_flag=True, help=text)


@click.group(epilog=example("ion module list", "ion module describe detect", "ion module rollback detect"))
def module() -> None:
    """Create, list, change and delete modules; see what they were.

    A module is named by its name, or by its deployed name (NAME-xxxxxxxx). Dispatchers that run take up changes by
    themselves.
    """


@module.command(
    epilog=example(
        "ion module create -n detect -i photo -o face -m ghcr.io/acme/detect:1",
        "ion module create -n detect -i photo -o face -p local -m file:./detect",
        "ion module create -n detect -i photo -o face -p local -- python3 detect.py --fast",
    )
)
@click.option("-n", "--name", required=True, metavar="NAME", help="The module's name.")
@click.option("-i", "--event-subscriptions", "on", default="", metavar="EVENTS", help="Event types that start it: a,b.")
@click.option("-o", "--event-publications", "emits", default="", metavar="EVENTS", help="Event types it may raise.")
@click.option("-m", "--module-image", "image", default="", help="Its image; with -p local also file:PATH, a program.")
@click.option("-p", "--provider", type=click.Choice(PROVIDERS, case_sensitive=False), default=PROVIDER,
              show_default=True, help="Where it runs.")  # fmt: skip
@click.option("--handler-image", default="", metavar="IMAGE", help="The image of the handler beside it.")
@click.option("--instance-count", "instances", type=click.IntRange(min=1), default=INSTANCES, show_default=True,
              help="How many of its jobs run at once.")  # fmt: skip
@click.option("--retry-count", "retries", type=click.IntRange(min=0), default=RETRIES, show_default=True,
              help="Further attempts after a failure.")  # fmt: skip
@click.option("--max-exec-mins", "minutes", type=click.IntRange(min=1), default=MINUTES, show_default=True,
              help="Minutes that one attempt may run.")  # fmt: skip
@click.option("--config-map-file", "env_file", type=click.Path(path_type=Path), metavar="FILE.env",
              help="Its variables: KEY=VALUE, a line each.")  # fmt: skip
@click.argument("command", nargs=-1)
@as_json()
def create(env_file: Path | None, command: tuple[str, ...], image: str, *, as_json: bool, **given: Any) -> None:
    """Create a module, or change the one of that name, and print its deployed name.

    What stands behind -- is the command that it runs: in this folder, if it is created in a store here.
    """
    from ion.cli.env_file import read_env_file

    here = target().store is not None
    env = read_env_file(env_file) if env_file else {}
    made = created(
        image=_from_here(image) if here else image,
        command=command,
        env=env,
        folder=str(Path.cwd()) if here else "",
        **given,
    )

    async def work(ion: Management) -> None:
        applied = await ion.modules.apply(modules=(made,))
        (change,) = applied.changes
        deployed = f"{change.module}-{change.revision[:8]}"
        if as_json:
            document({"name": deployed, "change": change, "warnings": applied.warnings})
        else:
            click.echo(deployed)
        for warning in applied.warnings:
            remark(f"warning: {plain(warning)}")

    manage(work)


def _from_here(image: str) -> str:
    """A program given by its path from this folder has that from the root, wherever it is started."""
    words = words_of(image.removeprefix(LOCAL_FILE))
    if not image.startswith(LOCAL_FILE) or not words:
        return image
    program = os.path.abspath(words[0])  # noqa: PTH100  links stay
    return LOCAL_FILE + shlex.join([program, *words[1:]])


@module.command("list", epilog=example("ion module list --json"))
@as_json("One JSON array.")
def list_modules(*, as_json: bool) -> None:
    """List the modules by name."""

    async def work(ion: Management) -> None:
        found = await ion.modules.list()
        if as_json:
            document([view(one) for one in found])
        else:
            header = ("MODULE", "DEPLOYED", "PIPELINE", "PROVIDER", "AT ONCE", "STATE", "RUNS")
            table(header, [row(one) for one in found])

    manage(work)


@module.command(epilog=example("ion module get -n detect"))
@named
@as_json()
def get(name: str, *, as_json: bool) -> None:
    """Print a module's deployed name and how it stands."""

    async def work(ion: Management) -> None:
        state = await ion.modules.get(name=name)
        if as_json:
            document(state_view(state))
        else:
            facts(
                [
                    ("name", deployed_name(state.registered.revision)),
                    ("status", state.standing),
                    ("message", plain(state.message)),
                ]
            )

    manage(work)


@module.command(epilog=example("ion module describe detect"))
@named
@as_json()
def describe(name: str, *, as_json: bool) -> None:
    """Show a module: how it stands, its jobs by state, and what it is told to do."""

    async def work(ion: Management) -> None:
        state = await ion.modules.get(name=name)
        if as_json:
            document(state_view(state))
        else:
            facts(described(state))

    manage(work)


@module.command(epilog=example("ion module delete detect", "ion module delete -n detect-3f2a91c0 --cancel"))
@named
@click.option("--cancel", is_flag=True, help="Cancel its waiting jobs; else they become dead letters.")
def delete(name: str, *, cancel: bool) -> None:
    """Delete a module: nothing starts it any more, its running jobs end. Its history stays."""
    gone = manage(lambda ion: ion.modules.delete(name=name, cancel=cancel))
    click.echo(f"deleted {gone.name}")


@module.command(epilog=example("ion module pause detect"))
@named
def pause(name: str) -> None:
    """Pause a module: its running jobs end and commit, the others wait."""
    _pause(name, paused=True)


@module.command(epilog=example("ion module resume detect"))
@named
def resume(name: str) -> None:
    """Let a paused module go on, and one that was stopped after many failures."""
    _pause(name, paused=False)


def _pause(name: str, *, paused: bool) -> None:
    found = manage(lambda ion: ion.modules.pause(name=name, paused=paused))
    click.echo(f"module {found.name} {'is paused' if paused else 'goes on'}")


@module.command(epilog=example("ion module scale detect 8"))
@click.argument("words", nargs=-1, required=True, metavar="NAME N")
@click.option("-n", "--name", "option", default="", metavar="NAME", help="The same as NAME.")
@as_json()
def scale(words: tuple[str, ...], option: str, *, as_json: bool) -> None:
    """Let so many of a module's jobs run at once, over all dispatchers."""
    name, *number = (option, *words) if option else words
    if len(number) != 1 or not number[0].isdecimal():
        raise InvalidError("say which module and how many at once: `ion module scale NAME N`")
    _changed(lambda ion: ion.modules.scale(name=name, concurrency=int(number[0])), as_json=as_json)


@module.command(epilog=example("ion module rollback detect", "ion module rollback detect --to 3f2a91c0"))
@named
@click.option("--to", "revision", default="", metavar="REVISION", help="That one, or its beginning; else the last.")
@as_json()
def rollback(name: str, revision: str, *, as_json: bool) -> None:
    """Make an earlier revision of a module the current one."""
    _changed(lambda ion: ion.modules.rollback(name=name, revision=revision), as_json=as_json)


def _changed(work: Callable[[Management], Any], *, as_json: bool) -> None:
    change: Change = manage(work)
    if as_json:
        document(change)
        return
    for line in change_lines(change):
        click.echo(line)


@module.command(epilog=example("ion module history detect"))
@named
@as_json("One JSON array.")
def history(name: str, *, as_json: bool) -> None:
    """List what a module was, the newest first: when, by whom, and its revision."""

    async def work(ion: Management) -> None:
        past = [one async for one in ion.modules.history(name=name)]
        if as_json:
            document(past)
        else:
            table(("WHEN", "BY", "REVISION", "RUNS"), history_rows(past))

    manage(work)


@module.command(epilog=example("ion module logs detect", "ion module logs detect -f"))
@named
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(name: str, *, follow: bool) -> None:
    """Print the log of a module's latest job; of those that run, if any do."""

    async def work(ion: Management) -> None:
        job = await _latest(ion, (await ion.modules.get(name=name)).registered.module)
        remark(f"job {job.id}: {job.state}")
        async for chunk in ion.jobs.log(job=job.id, follow=follow):
            raw(chunk)

    manage(work)


async def _latest(ion: Management, found: Module) -> Job:
    for states in ((State.RUNNING,), ()):
        latest = await ion.jobs.latest(which=JobFilter(module=found.name, states=states), most=1)
        if latest.jobs:
            return latest.jobs[-1]
    raise NotFoundError(f"the module {found.name} has had no job yet: raise one of the events that it hears")
