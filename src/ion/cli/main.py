"""The command line's entry: `ion`.

Commands are imported when they are used: the group knows their names, their modules and one line of help each, so that
`ion --help` and `ion version` cost no more than click. And it is the one place where errors become exit codes:

    2    what was given is wrong, not allowed, or not possible now (usage, InvalidError, DeniedError, ConflictError,
         UnsupportedError)
    1    something does not answer (UnavailableError)
    130  interrupted

Both with one sentence. Any other exception is a fault of Ion's and keeps its traceback.
"""

import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from ion import __version__
from ion.cli.context import accept_globals, example, global_options
from ion.errors import ConflictError, DeniedError, InvalidError, UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "init": ("ion.cli.init:init", "Make a small pipeline that runs at once."),
    "run": ("ion.cli.run:run", "Run a pipeline until its flow is quiet."),
    "up": ("ion.cli.up:up", "Serve a pipeline until stopped."),
    "apply": ("ion.cli.apply:apply", "Hand a pipeline's modules to an Ion that runs."),
    "module": ("ion.cli.module:module", "Create, list, change and delete modules; see what they were."),
    "event": ("ion.cli.event:event", "Raise events; look at those on the bus."),
    "dev": ("ion.cli.dev:dev", "Run a module by hand, step by step."),
    "job": ("ion.cli.job:job", "List, show, retry and cancel jobs; read their logs."),
    "dlq": ("ion.cli.dlq:dlq", "List, show and redrive dead letters: jobs that died."),
    "find": ("ion.cli.find:find", "Find jobs by a subject, a file's hash, an insight."),
    "rerun": ("ion.cli.rerun:rerun", "Compute results again."),
    "flow": ("ion.cli.flow:flow", "List, show, await, pause, resume, cancel and report flows."),
    "insights": ("ion.cli.insights:insights", "Export what modules found: CSV, Parquet, JSON lines."),
    "trace": ("ion.cli.trace:trace", "Print all that is recorded of a flow."),
    "bus": ("ion.cli.bus:bus", "Show what waits in the bus; publish again what it may have lost."),
    "graph": ("ion.cli.graph:graph", "Draw a pipeline and say what is odd about it."),
    "top": ("ion.cli.top:top", "Watch modules, dispatchers and failures."),
    "doctor": ("ion.cli.doctor:doctor_command", "Say what is amiss, and what to do about it."),
    "audit": ("ion.cli.audit:audit_command", "Check that what the ledger says is what is stored."),
    "du": ("ion.cli.du:du_command", "Show how many bytes are stored, and by what."),
    "gc": ("ion.cli.gc:gc_command", "Delete what retention no longer keeps, and what nobody needs."),
    "context": ("ion.cli.contexts:context", "List and choose the Ions that you work on, by name."),
    "completion": ("ion.cli.completion:completion", "Print the script that lets a shell complete commands."),
    "management": ("ion.cli.management:management", "Serve the management API; show who changed what."),
    "dispatcher": ("ion.cli.dispatcher:dispatcher", "Serve the modules that are registered."),
    "gateway": ("ion.cli.gateway:gateway", "Serve the front API by itself."),
    "certs": ("ion.cli.certs:certs", "Make certificates for the management API, and take them back."),
    "handler": ("ion.cli.handler:handler", "Prepare and commit around a module, in a pod of its own."),
    "schema": ("ion.cli.schema:schema", "Write the JSON schema of ion.yaml, for editors."),
    "version": ("ion.cli.main:version", "Print the version."),
}
"""In the order in which people meet them."""


class Refusal(click.ClickException):
    """An error that the person at the terminal can do something about."""

    exit_code = 2


class Later(Refusal):
    """An error that may be gone the next time."""

    exit_code = 1


class Commands(click.Group):
    """The group of all commands; see the module's text."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name][0].partition(":")
            self.commands[cmd_name] = accept_globals(getattr(importlib.import_module(module), name))
        return self.commands.get(cmd_name)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Without importing any command."""
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'; {_suggestion(args[0])}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no ✓ gets a question mark
                stream.reconfigure(errors="replace")
        try:
            return super().invoke(ctx)
        except BaseException as error:
            meant = _meant(error)
            if meant is error:
                raise
            raise meant from error


def _meant(error: BaseException) -> BaseException:
    """What the error is to the person at the terminal; one that is unknown stays what it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case InvalidError() | ConflictError() | DeniedError() | UnsupportedError():
            return Refusal(str(error))
        case UnavailableError():
            return Later(str(error))
        case KeyboardInterrupt():
            return click.exceptions.Exit(130)
        case _:
            return error


def _suggestion(name: str) -> str:
    from ion.messaging.nearest import suggestion

    return suggestion(name, COMMANDS)


@click.group(
    cls=Commands,
    params=global_options(),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("ion init hello && cd hello", "ion run ion.yaml --event text_added --file sample.txt"),
)
def main(**_: Any) -> None:
    """Run your programs when events happen.

    Global options may stand before or after a command; `ion COMMAND --help` says more.
    """


@click.command(epilog=example("ion version"))
def version() -> None:
    """Print the version."""
    click.echo(f"ion {__version__}")


def program(*arguments: str) -> None:
    """The process `ion`: `main`, and the end.

    The threads of obstore may be about to call Python when the interpreter is taken down, which aborts the process
    though its work is done. Where it was loaded, the process ends without that.
    """
    try:
        main(args=arguments or None)
    except SystemExit as end:
        if "obstore" not in sys.modules or isinstance(end.code, str):
            raise
        code = end.code or 0
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # whoever read it is gone; Python itself says so with this code
                code = code or 120
        os._exit(code)


if __name__ == "__main__":
    program()
