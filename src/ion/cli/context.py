"""What every command shares: the global options, the store it works on, and how it runs.

The global options may stand before or after the command (`ion --store D job list`, `ion job list --store D`), as those
of the 2018 original may. Their values are the parameters of the root context; a later one wins.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ion.errors import InvalidError, NotFoundError, UnsupportedError

if TYPE_CHECKING:  # heavy: only commands that work on a store need them
    from ion.dispatcher.service import Stores
    from ion.management.verbs import Management

T = TypeVar("T")

STORE_NAME = ".ion"
CONFIG = ".ioncli.yaml"
"""In the home folder, unless `--config` names another."""


def example(*commands: str) -> str:
    """The end of a command's help; click leaves the lines as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {command}" for command in commands)


def global_options(*, hidden: bool = False) -> list[click.Option]:
    """The original's and the store's; `hidden` ones stand at a command and set the root's parameters."""

    def option(*names: str, **settings: Any) -> click.Option:
        if not hidden:
            return click.Option(names, **settings)
        settings.pop("envvar", None)
        return click.Option(names, hidden=True, expose_value=False, callback=_to_root, **settings)

    path = click.Path(path_type=Path)
    return [
        option("--store", type=path, metavar="DIR", help="The store; else ION_HOME, else .ion here or above."),
        option("--endpoint", envvar="ION_ENDPOINT", metavar="HOST:PORT", help="A remote Ion to work on."),
        option("--timeout", type=float, default=30.0, metavar="SECONDS", help="Time limit of a remote call (30)."),
        option("--certfile", type=path, metavar="FILE", help="Certificate of this client."),
        option("--keyfile", type=path, metavar="FILE", help="Key of that certificate."),
        option("--cacertfile", type=path, metavar="FILE", help="Certificates that the remote Ion is checked against."),
        option("--config", type=path, metavar="FILE", help="Holds these options (~/.ioncli.yaml)."),
        option("--verbose", is_flag=True, help="Log what is done, on standard error."),
    ]


def _to_root(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    name = parameter.name
    if name is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        context.find_root().params[name] = value
    return value


def accept_globals(command: click.Command) -> click.Command:
    """Lets a command, and those below it, take the global options too, except where it has one of that name."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params += [option for option in global_options(hidden=True) if not taken.intersection(option.opts)]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            accept_globals(below)
    return command


class Place:
    """A store that is open, and where it is."""

    def __init__(self, folder: Path, stores: "Stores") -> None:
        self.folder, self.stores = folder, stores
        self.ledger, self.documents, self.blobs = stores.ledger, stores.documents, stores.blobs

    @property
    def work(self) -> Path:
        """The folders of running attempts."""
        return self.folder / "work"


def in_store(work: Callable[[Place], Awaitable[T]]) -> T:
    """Runs `work` on the store that the command is for, and says on standard error which that is.

    Raises:
        NotFoundError: there is no store. UnsupportedError: a remote Ion was asked for.
    """
    import asyncio

    from ion.cli.output import here, remark
    from ion.wiring import open_store

    start_logging()
    folder = store_folder()

    async def run() -> T:
        remark(f"store: {here(str(folder))}")
        async with open_store(folder) as stores:
            return await work(Place(folder, stores))

    return asyncio.run(run())


def manage(work: "Callable[[Management], Awaitable[T]]") -> T:
    """Runs `work` on the Ion that the command is for, and says on standard error which that is."""
    import asyncio

    from ion.cli.output import here, remark
    from ion.wiring import open_management

    start_logging()
    folder = store_folder()

    async def run() -> T:
        remark(f"store: {here(str(folder))}")
        async with open_management(folder) as management:
            return await work(management)

    return asyncio.run(run())


def store_folder() -> Path:
    """The folder of the store that is there already; a look makes none."""
    from ion.wiring import find_store, is_store

    chosen = click.get_current_context().find_root().params
    refuse_remote(chosen)
    folder = find_store(Path.cwd(), chosen.get("store"), os.environ)
    if folder is None:
        raise NotFoundError("there is no store here or above: run a pipeline first (`ion run`), or name one by --store")
    if not is_store(folder):
        raise NotFoundError(f"{folder} is no store: run a pipeline first (`ion run`), or name another by --store")
    return folder


def serving_store(folder: Path, endpoint: str) -> Path:
    """The store that `ion run` and `ion up` work on, made when missing: the one named, else beside the pipeline file.

    Args:
        folder: The pipeline file's.
        endpoint: The one that the pipeline file names, if any.

    Raises:
        UnsupportedError: a remote Ion was asked for.
    """
    chosen = click.get_current_context().find_root().params
    refuse_remote({**chosen, "endpoint": chosen.get("endpoint") or endpoint})
    named = chosen.get("store") or os.environ.get("ION_HOME")
    return Path(os.path.abspath(named or folder / STORE_NAME))  # noqa: PTH100  `..` is taken out, links stay


def refuse_remote(chosen: dict[str, Any]) -> None:
    """Working on something else than was asked for would be worse than not working."""
    if endpoint := chosen.get("endpoint") or _configured_endpoint(chosen.get("config")):
        raise UnsupportedError(
            f"the endpoint {endpoint} cannot be used: this Ion works on local stores only; use --store"
        )


def _configured_endpoint(given: Path | None) -> str:
    config = given or Path.home() / CONFIG
    if given is None and not config.is_file():
        return ""
    import yaml

    try:
        settings = yaml.safe_load(config.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidError(f"the configuration {config} cannot be read: {reason}") from error
    return str(settings.get("endpoint") or "") if isinstance(settings, dict) else ""


def start_logging() -> None:
    """Log lines go to standard error, one each: warnings, and with --verbose what is done too."""
    import logging

    verbose = click.get_current_context().find_root().params.get("verbose")
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


def key_values(pairs: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE` texts, taken apart at the first equals sign."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidError(f"'{pair}' is no key and value: write KEY=VALUE")
        if key in values:
            raise InvalidError(f"the key '{key}' is given twice: give each key once")
        values[key] = value
    return values
