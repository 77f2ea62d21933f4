"""Running a module in a test of its own:

    def test_a_cat_is_found():
        run = run_module(["python", "detect.py"], files={"cat.jpg": Path("cat.jpg")}, emits=["face"])
        assert run.insights["faces"] == 1

It is prepared, run and judged as in a store, by the same code. What a commit would refuse raises `ContractError`.
"""

import asyncio
import atexit
import concurrent.futures
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ion.errors import ContractError, InvalidError, IonError, UnavailableError
from ion.messaging import codec
from ion.messaging.trace import new_trace
from ion.model.event import Event, FileRef, utc_now
from ion.model.ids import job_id, new_id
from ion.model.job import Failure, FailureClass, Job
from ion.model.manifest import Manifest
from ion.model.module import Module

LOG_SHOWN = 4000
"""Characters of the log's end that an error shows."""

Content = bytes | str | os.PathLike[str]
"""A file: its content in bytes, or where it is."""

_STAMP = re.compile(r"^\S+Z ", re.MULTILINE)


class ModuleFailedError(IonError):
    """The module ended badly: the message has the end of its log, `exit_code` is negative for a signal."""

    def __init__(self, failure: Failure, log: str) -> None:
        shown = log if len(log) <= LOG_SHOWN else f"…{log[-LOG_SHOWN:]}"
        super().__init__(f"the module failed: {failure.message}; it logged:\n{shown}" if log else failure.message)
        self.failure, self.exit_code, self.log = failure, failure.exit_code, log


@dataclass(frozen=True, kw_only=True)
class RaisedEvent:
    """An event that the module raised; `files` are what it brings, by their names in the next module's `in/data`."""

    type: str
    subject: str
    data: Any
    files: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class ModuleRun:
    """How a module ran. Its folder, and with it every path here, goes when this process ends, unless it was given.

    `files`: what it left in `out/data`, by path. `insights`: values with their types. `events`: in the order of their
    files' names. `log`: both its outputs, without the times. `failure`: empty, or why nothing would be committed.
    """

    directory: Path
    exit_code: int | None
    log: str
    failure: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    insights: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[RaisedEvent] = ()


def run_module(
    command: Sequence[str] | str = (),
    *,
    name: str = "module",
    files: Mapping[str, Content] | None = None,
    event_type: str = "test",
    data: Any = None,
    subject: str = "",
    event: os.PathLike[str] | bytes | None = None,
    emits: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    image: str = "",
    cwd: os.PathLike[str] | str = ".",
    timeout_s: float = 60.0,
    folder: Path | None = None,
    check: bool = True,
) -> ModuleRun:
    """Runs a module on files and an event, and gives what it left.

    Args:
        command: The program, as in a pipeline file; a text is split at blanks.
        name: The module's, for `ION_MODULE`.
        files: The event's files by their paths below `in/data`: the content of each in bytes, or the path where it is.
        event_type: The event's type.
        data: Its key/values.
        subject: What it is about; by default the first file's name.
        event: A whole event as a CloudEvents document (or its file), in place of type, data and subject. The files
            that it names are the contents of `files` with these paths.
        emits: The event types that the module declares.
        env: Its variables.
        secrets: Its secrets by variable; they are masked in the log.
        image: Runs it in a container of this image.
        cwd: Where a process starts.
        timeout_s: How long it may run.
        folder: Becomes the module's directory, must not exist, and stays; by default a temporary one.
        check: Raises when the module fails; else the result says so.

    Raises:
        ContractError: a commit would refuse what it left. ModuleFailedError: it failed, or took too long.
        UnsupportedError, UnavailableError: it cannot run here.
    """
    given = dict(files or {})
    happened = _event(event, given) if event is not None else _made(event_type, data, subject, given)
    module = Module(
        name=name,
        command=tuple(command.split() if isinstance(command, str) else command),
        image=image,
        runtime="container" if image else "",
        emits=tuple(emits),
        env=dict(env or {}),
        secrets={variable: variable for variable in secrets or {}},
        folder=str(Path(cwd).absolute()),
        timeout_s=timeout_s,
        grace_s=2.0,
    )
    directory = folder.absolute() if folder is not None else Path(tempfile.mkdtemp(prefix="ion-module-")) / "ion"
    try:
        run = _finished(_trial(module, happened, given, directory, dict(secrets or {})), directory, check=check)
    except BaseException:
        if folder is None:
            shutil.rmtree(directory.parent, ignore_errors=True)
        raise
    if folder is None:
        atexit.register(shutil.rmtree, directory.parent, ignore_errors=True)
    return run


def _made(event_type: str, data: Any, subject: str, files: Mapping[str, object]) -> Event:
    identity = new_id()
    return Event(
        id=identity,
        type=event_type,
        source=codec.gateway_source("test"),
        correlation_id=identity,
        parent_id="test",
        time=utc_now(),
        subject=subject or next(iter(files), ""),
        traceparent=new_trace(),
        files=tuple(FileRef(path=path, blob=f"{identity}/1/x/data/{path}", size=0) for path in files),
        data={} if data is None else data,
    )


def _event(document: os.PathLike[str] | bytes, files: Mapping[str, object]) -> Event:
    event = codec.decode(document if isinstance(document, bytes) else Path(document).read_bytes())
    named = {ref.path for ref in event.files}
    if odd := named.symmetric_difference(files):
        raise InvalidError(
            f"`files` and the event's files differ in {', '.join(sorted(odd))}: give those that it names"
        )
    return event


async def _run(
    module: Module, event: Event, files: Mapping[str, Content], directory: Path, secrets: Mapping[str, str]
) -> tuple[Manifest | None, Failure | None, str]:
    from ion.wiring.trial import run_trial

    async def bring(ref: FileRef, place: Path) -> None:
        await asyncio.to_thread(_copy, ref.path, files[ref.path], place)

    log = bytearray()
    job = Job(id=job_id(event.id, module.name), module=module.name, event=event)
    trial = await run_trial(
        job, module, directory, bring=bring, secrets=secrets.get, environ=os.environ, tell=log.extend
    )
    return trial.results, trial.failure, _STAMP.sub("", log.decode(errors="replace"))


def _copy(name: str, content: Content, place: Path) -> None:
    if isinstance(content, bytes):
        place.write_bytes(content)
        return
    try:
        shutil.copyfile(content, place)
    except OSError as error:
        where = os.fspath(content)
        raise InvalidError(f"the file '{name}' cannot be read from {where}: {error.strerror}") from error


def _trial(
    module: Module, event: Event, files: Mapping[str, Content], directory: Path, secrets: Mapping[str, str]
) -> tuple[Manifest | None, Failure | None, str]:
    running = _run(module, event, files, directory, secrets)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(running)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # in a test that is asynchronous itself
        return thread.submit(lambda: asyncio.run(running)).result()


def _finished(ended: tuple[Manifest | None, Failure | None, str], directory: Path, *, check: bool) -> ModuleRun:
    results, failure, log = ended
    if results is not None:
        return ModuleRun(
            directory=directory,
            exit_code=0,
            log=log,
            files={ref.path: directory / "out/data" / ref.path for ref in results.files},
            insights={one.key: one.value if one.typed is None else one.typed for one in results.insights},
            events=tuple(_raised(event, results, directory) for event in results.events),
        )
    assert failure is not None
    if failure.kind is FailureClass.CONTRACT:
        raise ContractError(failure.message)
    if failure.kind is FailureClass.INFRASTRUCTURE:
        raise UnavailableError(failure.message)
    if check:
        raise ModuleFailedError(failure, log)
    return ModuleRun(directory=directory, exit_code=failure.exit_code, log=log, failure=failure.message)


def _raised(event: Event, results: Manifest, directory: Path) -> RaisedEvent:
    """Its files are the module's own, or inputs that it passes on."""
    own = {ref.path for ref in results.files}
    places = {ref.path: directory / ("out/data" if ref.path in own else "in/data") / ref.path for ref in event.files}
    return RaisedEvent(type=event.type, subject=event.subject, data=event.data, files=places)
