"""What the tests of the bus suite share: how to open the bus, names of their own, and events."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import pytest

from ion.messaging.codec import module_source
from ion.model import ids
from ion.model.event import Event
from ion.ports.bus import Bus, Delivery, Receiver


def made(topic: str, **changes: Any) -> Event:
    """An event of Ion's own."""
    fields: dict[str, Any] = {
        "id": ids.new_id(),
        "type": topic,
        "source": module_source("detect"),
        "correlation_id": ids.new_id(),
        "parent_id": ids.new_id(),
        "time": datetime.now(UTC),
        **changes,
    }
    return Event(**fields)


def ids_of(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.event.id for delivery in deliveries if delivery.event is not None]


class BusHarness(ABC):
    patience_s = 120.0
    """How long a promised delivery may take, redelivery after a death included."""
    hold_s = 0.0
    """After how long this bus gives a delivery to another receiver when it hears nothing, 0 where it does not go by
    time; short enough for a test to wait for it.
    """

    @abstractmethod
    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        """Opens this test's bus; where it is durable every call opens the same one."""

    def elsewhere(self) -> str:
        """Python source that defines `open_bus` for the same bus in another process; "" if there is none."""
        return ""

    @pytest.fixture(autouse=True)
    def names(self) -> None:
        self.topic = f"topic.{uuid.uuid4().hex}"
        self.group = f"group-{uuid.uuid4().hex}"

    def events(self, count: int, topic: str = "") -> list[Event]:
        return [made(topic or self.topic, data={"number": number}) for number in range(count)]

    async def collect(self, receiver: Receiver, count: int, *, ack: bool = True) -> list[Delivery]:
        """Receives until so many deliveries are there; fails after `patience_s` without one."""
        deliveries: list[Delivery] = []
        while len(deliveries) < count:
            more = await receiver.receive(count - len(deliveries), self.patience_s)
            assert more, f"{count - len(deliveries)} of {count} deliveries did not come in {self.patience_s} s"
            if ack:
                await receiver.ack(more)
            deliveries += more
        return deliveries

    def needs_another_process(self, bus: Bus) -> None:
        if not bus.guarantees.durable or not self.elsewhere():
            pytest.skip("this bus does not promise to outlive a process")
