"""A group's receiver on NATS: asks each of its consumers for what it has room for, and keeps hold of what came.

The requests of a `receive` outlive it: what comes late, or after a cancelled call, is kept for the next one. Whatever
was delivered and is not yet acknowledged is held: the server hears of it three times in each `ack_wait`, however long
the ledger takes, and once this process is gone it delivers it to another. Leaving gives all of it back.

While the line is away there is simply nothing to receive: `nats_connection` has said so once, for everybody.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ion.adapters.bus.nats_connection import Connection
from ion.adapters.bus.nats_line import Line, Request, status_of
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.nats_stream import API
from ion.errors import InvalidError, UnavailableError
from ion.messaging import codec
from ion.ports.bus import Delivery, Receiver

NOW_S = 0.05
"""A wait as short as this asks for what is there, and the answer is waited for."""
MOST_AT_ONCE = 1000
AGAIN_S = 0.25
"""How long to wait before asking again what has just failed."""

_NOTHING, _TIME_IS_UP, _UNHEARD = "404", "408", "503"
_SHORT_REPLY = 9


class Token(msgspec.Struct, frozen=True):
    """Which delivery: the message's number, and the subject that takes its acknowledgement."""

    consumer: str
    number: int
    reply: str

    @property
    def key(self) -> tuple[str, int]:
        return self.consumer, self.number


class _Pull:
    """A request for messages: how many may still come, and until when. One `at_once` is for what is there now."""

    def __init__(self, consumer: str, most: int, until: float, *, at_once: bool) -> None:
        self.consumer, self.left, self.until, self.at_once = consumer, most, until, at_once


class NatsReceiver(Receiver):
    """Made and closed by the bus. One `receive` at a time.

    Args:
        settings: Of the bus.
        connection: Of the bus.
        consumers: The names of the group's consumers for the topics.
        whole: Gives the line when stream and consumers are there.
        doubt: Says that they may not be there any more.
    """

    def __init__(
        self,
        settings: NatsSettings,
        connection: Connection,
        consumers: Sequence[str],
        *,
        whole: Callable[[], Awaitable[Line]],
        doubt: Callable[[], None],
    ) -> None:
        self._settings, self._connection, self._consumers = settings, connection, consumers
        self._whole, self._doubt = whole, doubt
        self._line: Line | None = None
        self._subscription: Any = None
        self._inbox = ""
        self._numbers = itertools.count()
        self._pulls: dict[str, _Pull] = {}
        self._held: dict[tuple[str, int], Token] = {}
        self._ready: dict[tuple[str, int], Delivery] = {}
        self._news = asyncio.Event()
        self._pause_s = 0.0

    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        until = _now() + wait_s
        while most > 0 and not self._ready:
            self._news.clear()
            if await self._pull(min(most, MOST_AT_ONCE), until):
                await self._hear(until)
            if _now() >= until and not any(pull.at_once for pull in self._pulls.values()):
                break
        chosen = list(self._ready)[:most]
        return [self._ready.pop(key) for key in chosen]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Returns once the server has answered for each. What came again meanwhile is its new delivery's to settle."""
        await self._settle(deliveries, b"+ACK")

    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        delay = msgspec.json.encode({"delay": round(after_s * 1e9)})
        await self._settle(deliveries, b"-NAK " + delay if after_s > 0 else b"-NAK")

    async def renew(self) -> None:
        """Until cancelled: lets the server know that what is held is held."""
        while True:
            await asyncio.sleep(self._settings.ack_wait_s / 3)
            if (line := self._connection.now) is not None:
                with suppress(UnavailableError):
                    await line.tell([Request(token.reply, b"+WPI") for token in self._held.values()])

    async def close(self) -> None:
        """Takes nothing more, and gives back what is held. Without a line, the server sees by itself."""
        line = self._connection.now
        if line is None:
            return
        if line is self._line:
            line.at_end.discard(self._news.set)
            with suppress(Exception):  # the client's, at its end
                await asyncio.wait_for(self._subscription.drain(), self._settings.timeout_s)
        with suppress(UnavailableError):
            await line.ask([Request(token.reply, b"-NAK") for token in self._held.values()])

    # ---- asking -----------------------------------------------------------------------------------------------

    async def _pull(self, most: int, until: float) -> bool:
        """Asks the consumers that are not asked yet; whether there is something to wait for."""
        try:
            line = await self._whole()
            await self._attach(line)
            await self._ask(line, most, until - _now())
        except UnavailableError:
            if self._connection.now is None:
                await self._connection.wait(max(0.0, until - _now()))
            else:  # the server is there, and its stream is not: it may be starting
                await asyncio.sleep(max(0.0, min(AGAIN_S, until - _now())))
            return False
        return True

    async def _attach(self, line: Line) -> None:
        """Listens on a line that is new; the server has forgotten what was asked for on the old one."""
        if line is not self._line:
            self._pulls.clear()
            self._inbox = line.client.new_inbox()
            self._subscription = await line.listen(f"{self._inbox}.*", self._arrived)
            self._line = line
            line.at_end.add(self._news.set)

    async def _ask(self, line: Line, most: int, wait_s: float) -> None:
        at_once, now = wait_s < NOW_S, _now()
        self._pulls = {number: pull for number, pull in self._pulls.items() if pull.until > now}
        asked = {pull.consumer for pull in self._pulls.values() if pull.at_once or not at_once}
        wanted = {"batch": most, "no_wait": True} if at_once else {"batch": most, "expires": round(wait_s * 1e9)}
        requests = []
        for consumer in self._consumers:
            if consumer not in asked:
                number = str(next(self._numbers))
                until = now + self._settings.timeout_s + (0.0 if at_once else wait_s)
                self._pulls[number] = _Pull(consumer, most, until, at_once=at_once)
                subject = f"{API}.CONSUMER.MSG.NEXT.{self._settings.stream}.{consumer}"
                requests.append(Request(subject, msgspec.json.encode(wanted), reply=f"{self._inbox}.{number}"))
        await line.tell(requests)

    async def _hear(self, until: float) -> None:
        """Until something came, the line is lost, the time is up, or what was asked for at once is answered."""
        last = max((pull.until for pull in self._pulls.values() if pull.at_once), default=until)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, max(until, last) - _now())):
                await self._news.wait()
        now = _now()
        self._pulls = {number: pull for number, pull in self._pulls.items() if not (pull.at_once and pull.until <= now)}
        pause_s, self._pause_s = self._pause_s, 0.0
        if pause_s and not self._ready:
            await asyncio.sleep(max(0.0, min(pause_s, until - now)))

    # ---- hearing ----------------------------------------------------------------------------------------------

    async def _arrived(self, message: Any) -> None:
        if message.reply:
            self._take(message)
        else:
            self._ended(message.subject.rpartition(".")[2], status_of(message), message.headers or {})
        self._news.set()

    def _take(self, message: Any) -> None:
        consumer, tries, number = _origin(message.reply)
        token = Token(consumer, number, message.reply)
        self._held[token.key] = token
        self._ready[token.key] = _delivery(message.data, tries, token)
        for name, pull in self._pulls.items():
            if pull.consumer == consumer:
                pull.left -= 1
                if not pull.left:
                    del self._pulls[name]
                break

    def _ended(self, number: str, status: str, headers: Mapping[str, str]) -> None:
        """A request has had its last message, or cannot be answered."""
        self._pulls.pop(number, None)
        if status in (_NOTHING, _TIME_IS_UP):
            return
        self._pause_s = AGAIN_S
        if status == _UNHEARD or "Deleted" in headers.get("Description", ""):
            self._doubt()

    # ---- settling ---------------------------------------------------------------------------------------------

    async def _settle(self, deliveries: Sequence[Delivery], answer: bytes) -> None:
        """What is settled is no longer renewed, which would undo a delay; where that fails, it is held on."""
        tokens = [delivery.token for delivery in deliveries if self._held.get(delivery.token.key) == delivery.token]
        line = await self._connection.line()
        for token in tokens:
            del self._held[token.key]
        try:
            answers = await line.ask([Request(token.reply, answer) for token in tokens])
        except BaseException:
            for token in tokens:
                self._held.setdefault(token.key, token)
            raise
        if any(answer.status for answer in answers):
            self._doubt()
            raise UnavailableError("NATS has lost what it delivered, or is starting; it delivers again what it has")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _origin(reply: str) -> tuple[str, int, int]:
    """Consumer, tries and number, from `$JS.ACK.STREAM.CONSUMER.TRIES.NUMBER…`, in longer form with domain and account
    before the stream.
    """
    parts = reply.split(".")
    first = 3 if len(parts) == _SHORT_REPLY else 5
    return parts[first], int(parts[first + 1]), int(parts[first + 2])


def _delivery(raw: bytes, tries: int, token: Token) -> Delivery:
    """What others publish may not be readable here; it comes with its reason, so that it can be buried."""
    try:
        return Delivery(event=codec.decode(raw), raw=raw, tries=tries, token=token)
    except InvalidError as error:
        return Delivery(event=None, raw=raw, fault=str(error), tries=tries, token=token)
