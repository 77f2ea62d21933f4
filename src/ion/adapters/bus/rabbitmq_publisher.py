"""Publishing to RabbitMQ: many at once, each with its own confirmation, and none taken for granted.

Every message is `mandatory`: one that no queue took is sent back before it is confirmed, and so is told from one that
is stored. Whoever sent it judges whether somebody should have had it.

A batch has the whole time-out for each of its confirmations, not for all of them: a broker that is only slow would be
sent everything again and again, and never be done.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ion.adapters.bus.rabbitmq_link import Link, translated
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.errors import UnavailableError
from ion.messaging.codec import CONTENT_TYPE

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

BATCH_BYTES = 8 * 1024 * 1024
"""What is sent before confirmations are awaited: a large event goes alone, so that a time-out suits it too."""
BATCHES_AT_ONCE = 8
"""Of all callers together: what they send beyond waits here, not in the socket."""


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message for every queue that `key` leads to. `expiration_ms`: how long a queue keeps it."""

    exchange: str
    key: str
    id: str
    body: bytes
    headers: dict[str, Any] = {}
    expiration_ms: int | None = None


class Publisher:
    def __init__(self, settings: RabbitSettings, link: Link) -> None:
        self._settings = settings
        self._link = link
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._limits: dict[int, asyncio.Timeout] = {}
        """Of the batches under way, by number."""
        self._numbers = itertools.count()

    async def send(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Returns once each is confirmed, with those that no queue took.

        Raises:
            UnavailableError: any of them may be stored, or not.
            NotFoundError: an exchange is not there.
        """
        homeless: list[Outgoing] = []
        for batch in batches(messages, self._settings.publish_window):
            async with self._room:
                homeless += await self._send(batch)
        return homeless

    async def _send(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        async with self._link.bounded("publishing") as limit:
            number = next(self._numbers)
            self._limits[number] = limit
            try:
                channel = await self._confirming()
                sending = (self._send_one(channel, one, number) for one in batch)
                answers = await asyncio.gather(*sending, return_exceptions=True)
            finally:
                del self._limits[number]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        self._link.works()
        return [message for message, stored in zip(batch, answers, strict=True) if not stored]

    async def _send_one(self, channel: "AbstractChannel", message: Outgoing, number: int) -> bool:
        """Whether a queue took it. Translates for itself: a task that the client cancelled looks like no failure."""
        from aiormq import spec
        from aiormq.abc import DeliveredMessage

        with translated(self._settings, "publishing"):
            answer: Any = await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.key,
                properties=_properties(message),
                mandatory=True,
            )
        self._goes_on(number)
        if isinstance(answer, DeliveredMessage):
            return False
        if isinstance(answer, spec.Basic.Ack):
            return True
        raise UnavailableError(f"RabbitMQ at {self._settings.address} did not confirm an event; try again")

    def _goes_on(self, number: int) -> None:
        """What is confirmed of a batch gives it more time, and those that stand behind it; not those before it, whose
        queues may be stuck.
        """
        timeout_s = self._settings.timeout_s
        until = asyncio.get_running_loop().time() + timeout_s
        for later, limit in self._limits.items():
            before = limit.when()
            if later >= number and before is not None and until - before > timeout_s / 10 and not limit.expired():
                limit.reschedule(until)

    async def _confirming(self) -> "AbstractChannel":
        async with self._opening:
            if self._channel is None or not self._link.serves(self._channel):
                self._channel = await self._link.channel(confirms=True)
        return self._channel


def batches(messages: Sequence[Outgoing], window: int) -> Iterator[Sequence[Outgoing]]:
    """In order; each of at most `window` messages and, unless it is one alone, of `BATCH_BYTES`."""
    start = size = 0
    for end, message in enumerate(messages):
        if end > start and (end - start == window or size + len(message.body) > BATCH_BYTES):
            yield messages[start:end]
            start, size = end, 0
        size += len(message.body)
    if start < len(messages):
        yield messages[start:]


def _properties(message: Outgoing) -> Any:
    from aiormq import spec

    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        message_id=message.id,
        headers=message.headers or None,
        expiration=None if message.expiration_ms is None else str(message.expiration_ms),
    )
