"""`ion handler`: what runs around a module in a pod or a task, as programs. Executors start it; nobody else has to."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.context import example, start_logging
from ion.errors import InvalidError
from ion.model.told import Told, encode

if TYPE_CHECKING:
    from ion.handler.apart import Opened
    from ion.ports.executor import Assignment

GONE = 128 + signal.SIGTERM
"""The exit code of a process that ends because it was told to."""
LEAVING_S = 5.0
PLACES = "ION_BASE_DIR=/work/ion ION_HANDLER_FILES=/run/ion"
"""The two that have to be set."""

Step = Callable[["Opened", "Assignment", Path], Awaitable[Told]]


@click.group(epilog=example(*(f"{PLACES} ion handler {step}" for step in ("prepare", "commit"))))
def handler() -> None:
    """Prepare a job's directory, and commit what is in it, where a module runs in a place of its own.

    Executors start these in the pods and tasks of jobs. Variables say where things are: ION_BASE_DIR (the job's
    directory), ION_SEEN_AS (its path for the module), ION_HANDLER_FILES (a folder with assignment.json and blobs.json),
    ION_TERMINATION_LOG (a file for what became of it, as JSON) and ION_HOST (the node's name).
    """


@handler.command(epilog=example(f"{PLACES} ion handler prepare"))
def prepare() -> None:
    """Build the job's directory from its event."""
    from ion.handler.apart import prepare_apart

    sees = os.environ.get("ION_SEEN_AS", "")

    async def step(opened: "Opened", assignment: "Assignment", base: Path) -> Told:
        async with opened() as blobs:
            return await prepare_apart(blobs, assignment, base, sees)

    _end(step)


@handler.command(epilog=example(f"{PLACES} ion handler commit"))
def commit() -> None:
    """Store what the module left, the manifest last."""
    from ion.handler.apart import commit_apart

    host = os.environ.get("ION_HOST", "")
    _end(lambda opened, assignment, base: commit_apart(opened, assignment, base, host))


def _end(step: Step) -> None:
    """Does the step and ends the process: 0, 1 for a failure, 143 when it was told to go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(GONE))  # a container's first process has to ask for it
    start_logging()
    base, files = _place("ION_BASE_DIR"), _place("ION_HANDLER_FILES")
    with asyncio.Runner() as runner:
        told = runner.run(_done(step, base, files))
        if told is None:
            os._exit(GONE)  # threads may go on, which nobody has to wait for
    _tell(told)
    if told.failure is not None:
        print(f"Error: {told.failure.message}", file=sys.stderr)
        sys.exit(1)


async def _done(step: Step, base: Path, files: Path) -> Told | None:
    """None if SIGTERM came. What goes on then has a few seconds to let go of what it has begun in the store."""
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    work = asyncio.create_task(_worked(step, base, files), name="step")
    leaving = asyncio.create_task(gone.wait(), name="SIGTERM")
    await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=LEAVING_S)
    return work.result() if work.done() and not work.cancelled() else None


async def _worked(step: Step, base: Path, files: Path) -> Told:
    """The step, and how it failed if it did."""
    from ion.handler.apart import told_of

    try:
        from ion.wiring.handler import given, opened

        return await step(partial(opened, files), given(files), base)
    except Exception as error:  # noqa: BLE001 - whatever it is, the dispatcher has to be told
        return told_of(error)


def _tell(told: Told) -> None:
    """Where it cannot be told, the dispatcher looks for itself."""
    if where := os.environ.get("ION_TERMINATION_LOG"):
        try:
            Path(where).write_bytes(encode(told))
        except OSError as error:
            print(f"Warning: what became of it cannot be written to {where}: {error.strerror}", file=sys.stderr)


def _place(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise InvalidError(f"{variable} is not set: an executor starts `ion handler`, and sets it")
    return Path(value)
