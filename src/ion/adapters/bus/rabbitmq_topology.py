"""What Ion keeps on a RabbitMQ broker: an exchange for events, a queue for each group, and queues that delay.

Every queue is a quorum queue: replicated where the broker is a cluster, and written to disk before it confirms. A full
one refuses what is new and never drops what is old. The delaying queues have no reader. An event lies in one for as
long as its own expiration says and is then passed, at least once, to the queue that its routing key names. A queue
expires at its head only, so there is one for each power of two of seconds, and no event waits twice as long as asked.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ion.adapters.bus.rabbitmq_link import Link
from ion.adapters.bus.rabbitmq_names import queue_name, routing_key
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.errors import InvalidError, NotFoundError

SETTLE_S = 1.0
"""The broker notes a new quorum queue in a file that it writes half a second later. Killed before that, it never elects
a leader for the queue again, and whoever publishes to it waits for ever.
"""
_DELAYING: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
}
DELAY_HEADER = "ion-delay"
DELAY_MOST_S = 2**22
"""48 days; RabbitMQ counts milliseconds in 32 bits."""
_UNLIMITED_SINCE = 4
"""From this version on a queue drops what was delivered 20 times, if it is not told otherwise; before, it cannot be."""


class Topology:
    """The names, and how they are made. Making is idempotent."""

    def __init__(self, settings: RabbitSettings) -> None:
        self._prefix = settings.prefix
        self._queue_limit = settings.queue_limit
        self.events = f"{settings.prefix}.events"
        self.delays = f"{settings.prefix}.delays"

    def queue(self, group: str) -> str:
        return queue_name(self._prefix, group)

    async def make(self, link: Link, topics: Sequence[str], groups: Sequence[str]) -> None:
        """The exchange, and a queue for each group, bound to each topic; they last once this returned."""
        keys, queues = [routing_key(topic) for topic in topics], [self.queue(group) for group in groups]
        new = await _any_missing(link, queues)
        async with link.brief("making topics and groups") as channel:
            await channel.exchange_declare(self.events, exchange_type="topic", durable=True)
            arguments = self._arguments(await link.major_version())
            for queue in queues:
                await channel.queue_declare(queue, durable=True, arguments=arguments)
                for key in keys:
                    await channel.queue_bind(queue, self.events, key)
        if new:
            await asyncio.sleep(SETTLE_S)

    async def make_delay(self, link: Link, bucket_s: int) -> None:
        """The queue for delays of up to `bucket_s`; `:` is in no group's queue, so that none has its name."""
        queue = f"{self._prefix}:delay.{bucket_s}s"
        new = await _any_missing(link, [queue])
        async with link.brief("making a delay") as channel:
            await channel.exchange_declare(self.delays, exchange_type="headers", durable=True)
            await channel.queue_declare(queue, durable=True, arguments=_DELAYING)
            await channel.queue_bind(queue, self.delays, arguments={"x-match": "all", DELAY_HEADER: bucket_s})
        if new:
            await asyncio.sleep(SETTLE_S)

    def _arguments(self, version: int) -> dict[str, Any]:
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
        if self._queue_limit:
            arguments["x-max-length"] = self._queue_limit
        if version >= _UNLIMITED_SINCE:
            arguments["x-delivery-limit"] = -1
        return arguments


def bucket_for(after_s: float) -> int:
    """The shortest of the delaying queues that is long enough, in seconds."""
    if not after_s <= DELAY_MOST_S:
        raise InvalidError(f"RabbitMQ cannot delay by {after_s:g} s; {DELAY_MOST_S} s is the most")
    return 1 << max(0, math.ceil(math.log2(after_s)))


async def _any_missing(link: Link, queues: Iterable[str]) -> bool:
    try:
        for queue in queues:
            async with link.brief(f"looking for the queue {queue!r}") as channel:
                await channel.queue_declare(queue, passive=True)
    except NotFoundError:
        return True
    return False
