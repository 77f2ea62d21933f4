"""Hands records to the process that exports, and never waits for it."""

import asyncio
import logging
import platform
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec

from ion import __version__
from ion.management.telemetry.exporter import Orders
from ion.management.telemetry.lives import Life
from ion.management.telemetry.records import Figures, Line, Record, framed
from ion.management.telemetry.spans import spans_of
from ion.management.telemetry.wanted import Wanted
from ion.messaging.loglines import about, message_of, printable
from ion.model.ids import new_id

log = logging.getLogger("ion.telemetry")

EXPORTER = "ion.management.telemetry.exporter"
LOOK_S = 0.2
UNSENT_MOST = 8 * 1024 * 1024
"""Bytes that wait for the process that exports; what comes beyond them is lost."""
LINES_MOST = 10_000
END_S = 6.0
"""How long the process that exports may take to end; it allows itself less."""
LOOK_MOST_S = 5.0
"""How long the figures may take: a ledger that does not answer keeps nobody from ending."""
AGAIN_S = 60.0
"""How long after its start a process that exports is started again, if it was killed or broke."""

Look = Callable[[], Awaitable[Figures]]


class Telemetry:
    """Opened by `async with`. `look` gives the figures, if metrics are exported."""

    def __init__(self, wanted: Wanted, *, look: Look | None, as_json: bool, environ: Mapping[str, str]) -> None:
        self._wanted, self._look, self._as_json, self._environ = wanted, look, as_json, environ
        self._lines = _Lines()
        self._process: asyncio.subprocess.Process | None = None
        self._resource = {
            "service.name": "ion",
            "service.version": __version__,
            "service.instance.id": new_id(),
            "host.name": platform.node(),
        }
        self._started_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._lossy = False

    def live(self, life: Life) -> None:
        """An attempt is over."""
        if self._wanted.has("traces"):
            self._send(spans_of(life))

    async def __aenter__(self) -> Self:
        await self._start(again=False)
        if self._wanted.has("logs"):
            logging.getLogger().addHandler(self._lines)
        self._tasks = [asyncio.create_task(self._pass_on(), name="telemetry")]
        if self._look is not None and self._wanted.has("metrics"):
            self._tasks.append(asyncio.create_task(self._figures(self._look), name="figures"))
        return self

    async def _start(self, *, again: bool) -> None:
        orders = Orders(wanted=self._wanted, resource=self._resource, as_json=self._as_json, again=again)
        self._started_s = time.monotonic()
        self._process = await self._started(orders)

    async def _started(self, orders: Orders) -> asyncio.subprocess.Process | None:
        """The process that exports; None, with a warning, if there can be no other process now."""
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a file beside the pipeline is no part of this program
                "-m",
                EXPORTER,
                msgspec.json.encode(orders).decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,  # else whoever reads ours would wait for it
                env=dict(self._environ),
                start_new_session=True,
            )
        except OSError as error:
            log.warning("telemetry is not exported: its process cannot be started: %s", error.strerror)
            return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self._lines)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._look is not None and self._wanted.has("metrics"):
            await self._look_once(self._look)
        self._send(self._lines.taken())
        await self._end()

    async def _end(self) -> None:
        """Lets it export what it has, and ends it if that takes too long."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:  # it gives up before, and says so, unless the machine was too busy to start it
            log.warning("the last telemetry could not be exported within %g s and is lost", END_S)
            process.kill()
            await process.wait()

    async def _pass_on(self) -> None:
        """Log records come from any thread: they are fetched."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._keep_going()
            self._send(self._lines.taken())

    async def _keep_going(self) -> None:
        """Starts the process that exports again, if that is needed and due."""
        if self._has_broken() and time.monotonic() - self._started_s >= AGAIN_S:
            log.warning("the process that exports telemetry has ended; it is started again")
            await self._start(again=True)
            self._lossy = False

    def _has_broken(self) -> bool:
        """Whether the process that exports has ended, and not because there is nothing that it could export."""
        return self._process is None or bool(self._process.returncode)

    async def _figures(self, look: Look) -> None:
        while True:
            await asyncio.sleep(self._wanted.interval_s)
            await self._look_once(look)

    async def _look_once(self, look: Look) -> None:
        try:
            async with asyncio.timeout(LOOK_MOST_S):
                self._send([await look()])
        except TimeoutError:
            log.warning("the figures could not be told: the ledger did not answer within %g s", LOOK_MOST_S)
        except Exception:  # a fault here must not end anything else, and is not to be overlooked either
            log.exception("the figures could not be told")

    def _send(self, records: Iterable[Record]) -> None:
        """Never waits: what finds no room is lost, which is said once."""
        pipe = self._process.stdin if self._process is not None else None
        if pipe is None:
            return
        for record in records:
            if pipe.is_closing() or pipe.transport.get_write_buffer_size() > UNSENT_MOST:
                self._lose()
                return
            pipe.write(framed(record))

    def _lose(self) -> None:
        if not self._lossy:
            log.warning("telemetry is lost: the process that exports it does not take it, or has ended")
        self._lossy = True


class _Lines(logging.Handler):
    """Keeps log records until they are fetched. A record of the telemetry's own would come back for ever: left out."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[Line] = deque(maxlen=LINES_MOST)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == log.name:
            return
        try:
            self._keep(record)
        except Exception:  # noqa: BLE001 - as every handler: whoever logs is not to be harmed by it
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        job = about()
        attributes: dict[str, str | int | float | bool] = {f"ion.{name}": job[name] for name in _SAID if name in job}
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__name__
            attributes["exception.stacktrace"] = printable(_FORMAT.formatException(record.exc_info))
            with suppress(Exception):  # one that cannot say what it is
                attributes["exception.message"] = printable(str(record.exc_info[1]))
        self._kept.append(
            Line(
                at_ns=int(record.created * 1e9),
                number=record.levelno,
                logger=printable(record.name),
                message=message_of(record),
                trace_id=str(job.get("trace_id", "")),
                span_id=str(job.get("span_id", "")),
                flags=int(job.get("flags", 0)),
                attributes=attributes,
            )
        )

    def taken(self) -> list[Line]:
        """Those that were kept since the last call."""
        return [self._kept.popleft() for _ in range(len(self._kept))]


_SAID = ("job", "module", "flow", "attempt")
_FORMAT = logging.Formatter()
