"""What every command shares: the global options, the store it works on, and how it runs.

The global options may stand before or after the command (`ion --store D job list`, `ion job list --store D`), as those
of the 2018 original may. Their values are the parameters of the root context; a later one wins.
"""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ion.errors import InvalidError, NotFoundError, UnavailableError, UnsupportedError

if TYPE_CHECKING:  # heavy: only commands that work on something need them
    from ion.cli.target import Target
    from ion.config.settings import Settings
    from ion.management.verbs import Management

T = TypeVar("T")

STORE_NAME = ".ion"
PIPELINE_FILE = Path("ion.yaml")


def example(*commands: str) -> str:
    """The end of a command's help; click leaves the lines as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {command}" for command in commands)


def global_options(*, hidden: bool = False) -> list[click.Option]:
    """The original's and the store's; `hidden` ones stand at a command and set the root's parameters."""

    def option(*names: str, **settings: Any) -> click.Option:
        if not hidden:
            return click.Option(names, **settings)
        return click.Option(names, hidden=True, expose_value=False, callback=_to_root, **settings)

    path = click.Path(path_type=Path)
    return [
        option("--store", type=path, metavar="DIR", help="The store; else ION_HOME, else .ion here or above."),
        option("--endpoint", metavar="HOST:PORT", help="A remote Ion to work on, instead of a store."),
        option("--context", metavar="NAME", shell_complete=_contexts, help="The context to use; see `ion context`."),
        option("--timeout", metavar="DURATION", help="Time limit of a remote call; a number is seconds (30)."),
        option("--certfile", type=path, metavar="FILE", help="Certificate of this client."),
        option("--keyfile", type=path, metavar="FILE", help="Key of that certificate."),
        option("--cacertfile", type=path, metavar="FILE", help="Certificates that the remote Ion is checked against."),
        option("--config", type=path, metavar="FILE", help="Holds these options and contexts (~/.ioncli.yaml)."),
        option("--verbose", is_flag=True, help="Log what is done, on standard error."),
    ]


def _contexts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from ion.cli.completion import contexts

    return contexts(context, parameter, incomplete)


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


def target() -> "Target":
    """The Ion that the command is for; see `ion.cli.target`."""
    from ion.cli.target import choose

    return choose(click.get_current_context().find_root().params, os.environ, Path.cwd())


def manage(work: Callable[["Management"], Awaitable[T]]) -> T:
    """Runs `work` on the Ion that the command is for, and says on standard error which that is.

    Raises:
        NotFoundError: what was named is no store, or there is neither a store nor an Ion.
        UnavailableError: the Ion does not answer.
    """
    import asyncio

    from ion.cli.streams import streams_ended

    start_logging()
    chosen = target()

    async def run() -> T:
        async with _opened(chosen) as management, streams_ended():
            return await work(management)

    return asyncio.run(run())


@asynccontextmanager
async def _opened(chosen: "Target") -> AsyncIterator["Management"]:
    from ion.cli.output import here, remark
    from ion.cli.target import check_store

    if chosen.store is not None:
        from ion.wiring import open_management

        check_store(chosen.store)
        remark(f"store: {here(str(chosen.store))}")
        async with open_management(chosen.store) as management:
            yield management
        return
    try:
        async with _remote(chosen) as management:
            remark(f"ion: {chosen.endpoint}")
            yield management
    except (UnavailableError, UnsupportedError) as error:
        if chosen.named:
            raise
        raise type(error)(
            f"there is no store here or above (run a pipeline first, `ion run`, or name one by --store), and {error}"
        ) from error


def _remote(chosen: "Target") -> AbstractAsyncContextManager["Management"]:
    from ion.cli.extras import need_management

    need_management("grpc")
    from ion.management.rpc.remote import open_remote

    return open_remote(
        chosen.endpoint,
        timeout_s=chosen.timeout_s,
        certfile=str(chosen.certfile or ""),
        keyfile=str(chosen.keyfile or ""),
        cacertfile=str(chosen.cacertfile or ""),
    )


def serving_store(folder: Path) -> Path:
    """The store that `ion run` and `ion up` work on, made when missing: the one named, else beside the pipeline file.

    They serve a store here, whatever context is in use; only who asks for an endpoint in so many words is refused.

    Args:
        folder: The pipeline file's.

    Raises:
        UnsupportedError: a remote Ion was asked for.
    """
    given = click.get_current_context().find_root().params
    if endpoint := given.get("endpoint") or (None if given.get("store") else os.environ.get("ION_ENDPOINT")):
        raise UnsupportedError(
            f"the endpoint {endpoint} cannot be used: this command serves a store here; leave the endpoint out, or "
            "hand the pipeline to it with `ion apply`"
        )
    named = given.get("store") or os.environ.get("ION_HOME")
    return Path(os.path.abspath(named or folder / STORE_NAME))  # noqa: PTH100  `..` is taken out, links stay


def store_and_settings(file: Path | None, profile: str) -> "tuple[Path, Settings | None]":
    """For who serves the modules of a registry: the store, and the settings of a pipeline file, if there is any to go
    by. Without a file it is ion.yaml here, unless a store is named.

    Raises:
        NotFoundError: there is neither.
    """
    from ion.config.load import load_pipeline
    from ion.wiring import find_store, is_store

    named = click.get_current_context().find_root().params.get("store")
    if file is None and (profile or not (named or os.environ.get("ION_HOME"))) and PIPELINE_FILE.is_file():
        file = PIPELINE_FILE
    if file is not None:
        pipeline = load_pipeline(file, profile=profile, environ=os.environ, settings_only=True)
        return find_store(pipeline.folder, named, os.environ) or pipeline.folder / STORE_NAME, pipeline.settings
    store = find_store(Path.cwd(), named, os.environ)
    if store is None or not is_store(store):
        raise NotFoundError("there is no store to serve: name one by --store, or a pipeline file")
    return store, None


def start_logging(*, serves: bool = False) -> None:
    """Log lines go to standard error, one each: warnings, and with --verbose what is done too.

    They are JSON if ION_LOG says so, or if a command that `serves` has no terminal there: then a collector reads them.

    Raises:
        InvalidError: ION_LOG says what cannot be.
    """
    from ion.messaging.loglines import configure

    said = os.environ.get("ION_LOG", "")
    if said not in ("", "auto", "json", "text"):
        raise InvalidError(f"ION_LOG is '{said}': give json, text or auto")
    auto = serves and not sys.stderr.isatty()
    verbose = bool(click.get_current_context().find_root().params.get("verbose"))
    configure(verbose=verbose, as_json=auto if said in ("", "auto") else said == "json")


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
