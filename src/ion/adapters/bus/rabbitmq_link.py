"""Connections to RabbitMQ that are opened when they are needed, and the client's errors as Ion's.

aio-pika's robust connection is not used: it reopens channels behind their users' backs, who then cannot tell which
delivery tags and confirmations died with the old one. Here whatever goes wrong ends the channel for good and reaches
the caller as `UnavailableError`; its next call opens a new one. Waiting between the calls is the caller's.

A connection that is given up may take seconds to close, and longer on a line that hangs; its channels look open until
then. Whoever keeps a channel asks `Link.serves` before using it again, not the channel.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.errors import ConflictError, InvalidError, IonError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel
    from aiormq.connection import Connection

log = logging.getLogger(__name__)


class Outage:
    """Tells once that the broker is away, and once that it is back, whichever line is the first to notice."""

    def __init__(self, settings: RabbitSettings) -> None:
        self._address = settings.address
        self._down: set[str] = set()
        self._since_s = 0.0

    def failed(self, line: str, reason: object) -> None:
        if not self._down:
            self._since_s = time.monotonic()
            log.warning("RabbitMQ at %s is away (%s: %s)", self._address, line, reason)
        self._down.add(line)

    def works(self, line: str) -> None:
        if line in self._down:
            self._down.discard(line)
            if not self._down:
                log.warning("RabbitMQ at %s works again, after %.1f s", self._address, time.monotonic() - self._since_s)


class Link:
    """One connection, for one direction: the broker stops reading from those that publish while it lacks memory or
    disk, and acknowledgements must not stand behind them.
    """

    def __init__(self, settings: RabbitSettings, outage: Outage, line: str) -> None:
        self._settings = settings
        self._outage = outage
        self._line = line
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.at_loss: set[asyncio.Event] = set()
        """Set when a connection is given up or lost."""

    @asynccontextmanager
    async def bounded(self, doing: str) -> AsyncIterator[asyncio.Timeout]:
        """Translates errors; what the broker does not answer in time costs the connection, which may be a dead one.

        But not the one that others have opened meanwhile in its place.
        """
        used = self._connection
        with translated(self._settings, doing):
            try:
                async with asyncio.timeout(self._settings.timeout_s) as limit:
                    yield limit
            except TimeoutError:
                if used is None or used is self._connection:
                    self.drop(f"no answer in {self._settings.timeout_s:g} s")
                raise

    @asynccontextmanager
    async def brief(self, doing: str) -> AsyncIterator["AbstractChannel"]:
        """A channel of one's own for a few requests: a request that is refused ends its channel."""
        async with self.bounded(doing):
            channel = await self.channel()
            try:
                yield channel
            finally:
                if not channel.is_closed:
                    await channel.close()

    async def channel(self, *, confirms: bool = False) -> "AbstractChannel":
        """A new channel, within `bounded`.

        Its frames are queued without a bound (the prefetch is one): with one, deliveries that are still on their way to
        a channel that was just closed here would block the reader of the whole connection.
        """
        connection = await self._connected()
        return await connection.channel(publisher_confirms=confirms, on_return_raises=False, frame_buffer_size=0)

    def serves(self, channel: "AbstractChannel") -> bool:
        """Whether it is open, and of the connection that is in use."""
        return channel.connection is self._connection and self._connection.is_opened and not channel.is_closed

    async def major_version(self) -> int:
        properties: Any = (await self._connected()).server_properties
        version = str(properties.get("version", "")).partition(".")[0]
        return int(version) if version.isdigit() else 0

    def works(self) -> None:
        self._outage.works(self._line)

    def drop(self, reason: object) -> None:
        """Gives the connection up; the next call opens another."""
        self._outage.failed(self._line, reason)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._end(connection)
            for event in self.at_loss:
                event.set()

    async def close(self) -> None:
        """What does not end in order within the time-out is broken off."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.timeout_s):
                    await _closed(connection)
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=self._settings.timeout_s)
            for task in late:
                task.cancel()

    async def _connected(self) -> "Connection":
        async with self._opening:
            if self._connection is not None and not self._connection.is_opened:
                self.drop("closed")
            if self._connection is None:
                connection = _connection(self._settings, self._line)
                try:
                    await connection.connect()
                except BaseException:
                    self._end(connection)  # cancelled, it may have been opened all the same
                    raise
                connection.closing.add_done_callback(partial(self._lost, connection))
                self._connection = connection
            return self._connection

    def _lost(self, connection: "Connection", closing: "asyncio.Future[Any]") -> None:
        if connection is self._connection:
            reason = None if closing.cancelled() else closing.exception()
            self.drop(_text(reason) if reason else "closed")

    def _end(self, connection: "Connection") -> None:
        closing = asyncio.create_task(_closed(connection), name=f"close RabbitMQ, {self._line}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _connection(settings: RabbitSettings, line: str) -> "Connection":
    """Not opened yet. The client's own function that also opens it leaves nobody its owner where it is cancelled."""
    from aio_pika.connection import make_url
    from aiormq.connection import Connection

    quieten()
    return Connection(
        make_url(
            host=settings.host,
            port=settings.port or (5671 if settings.tls else 5672),
            login=settings.user,
            password=settings.password or "guest",
            virtualhost=settings.vhost,
            ssl=settings.tls,
            heartbeat=settings.heartbeat_s,
        ),
        context=_tls(settings) if settings.tls else None,
        client_properties={"connection_name": f"ion {settings.prefix} {line}"},
    )


def quieten() -> None:
    """The client logs every lost line with a traceback; Ion says it once, in a sentence."""
    for name in ("aiormq", "aio_pika"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def _tls(settings: RabbitSettings) -> ssl.SSLContext:
    """Names the files as a pipeline's `bus` does."""
    ca, cert, key = settings.tls_ca, settings.tls_cert, settings.tls_key
    with _usable(f"tls.ca {ca!r}"):
        context = ssl.create_default_context(cafile=ca or None)
    if cert:
        with _usable(f"tls.cert {cert!r}" + (f" and tls.key {key!r}" if key else "")):
            context.load_cert_chain(cert, key or None)
    return context


@contextmanager
def _usable(files: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidError(f"the bus on RabbitMQ cannot use its {files} ({error}); correct it") from error


async def _closed(connection: "Connection") -> None:
    from aiormq.exceptions import ConnectionClosed

    with suppress(Exception):
        await connection.close(ConnectionClosed(None, "given up"))


@contextmanager
def translated(settings: RabbitSettings, doing: str) -> Iterator[None]:
    """The client's errors as Ion's.

    When a connection dies the client cancels what waits for it. Such a cancellation, which nobody asked this task
    for, must not pass for a real one: it would end the task without a word. And where both come at once the client
    raises its own error, behind which a real one must not be forgotten: the task would never end.
    """
    from aio_pika import exceptions

    where = f"RabbitMQ at {settings.address}"
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    try:
        yield
    except IonError:
        raise
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > asked:
            raise
        raise UnavailableError(f"{where} went away while {doing}; try again") from error
    except Exception as error:
        if task is not None and task.cancelling() > asked:
            raise asyncio.CancelledError from error
        # Where a line is cut in the wrong moment, the client raises a bare Exception.
        if type(error) is not Exception and not isinstance(error, (*exceptions.CONNECTION_EXCEPTIONS, TimeoutError)):
            raise
        raise _as_ours(error, settings, doing) from error


def _as_ours(error: Exception, settings: RabbitSettings, doing: str) -> IonError:
    from aio_pika import exceptions

    where, said = f"RabbitMQ at {settings.address}", _text(error)
    match error:
        case exceptions.ChannelNotFoundEntity():
            return NotFoundError(f"{where} does not have what {doing} needs ({said}); call `ensure` first")
        case exceptions.ChannelPreconditionFailed():
            return ConflictError(f"{where} refused {doing} ({said}); delete it there or keep its settings")
        case exceptions.ProbableAuthenticationError() | exceptions.AuthenticationError():
            user = settings.user
            return UnavailableError(f"{where} does not let the user {user!r} in ({said}); mend user, password or vhost")
        case exceptions.DeliveryError():
            return UnavailableError(f"{where} refused an event: a group's queue is full or not there; try again")
        case TimeoutError():
            limit_s = settings.timeout_s
            hangs = "it hangs, or lacks memory or disk"
            return UnavailableError(f"{where} did not answer within {limit_s:g} s while {doing}; {hangs}")
        case _:
            return UnavailableError(f"{where} does not answer while {doing} ({said}); try again")


def _text(error: BaseException) -> str:
    words = [str(word) for word in error.args if word is not None and str(word)]
    return ": ".join(words) or type(error).__name__
