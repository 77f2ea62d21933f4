"""Putting modules into the registry beside a bus on another host."""

import socket
from collections.abc import AsyncIterator

import pytest

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.errors import UnavailableError
from ion.management.registry import apply_modules
from ion.model.module import Module, Subscription

DETECT = Module(name="detect", command=("true",), on=(Subscription(type="photo"),))


@pytest.fixture
async def ledger() -> AsyncIterator[SqliteLedger]:
    async with Database(None) as database:
        yield SqliteLedger(database)


@pytest.fixture
async def nowhere() -> AsyncIterator[NatsBus]:
    """A bus whose server is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        settings = NatsSettings(servers=(f"nats://127.0.0.1:{taken.getsockname()[1]}",), timeout_s=0.5)
        async with NatsBus(settings) as bus:
            yield bus


async def test_what_was_subscribed_before_starts_while_its_bus_is_away(
    ledger: SqliteLedger, nowhere: NatsBus, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart in an outage goes well, with one line that says so; the dispatcher waits for the bus."""
    async with Database(None) as elsewhere, SqliteBus(elsewhere) as bus:
        assert await apply_modules(ledger, bus, [DETECT], pipeline="", actor="test") == ["detect"]
    assert await apply_modules(ledger, nowhere, [DETECT], pipeline="", actor="test") == []
    assert [record.message.split(":")[0] for record in caplog.records if "started" in record.message] == [
        "module detect is started without its bus"
    ]


async def test_what_was_never_subscribed_is_refused_while_its_bus_is_away(
    ledger: SqliteLedger, nowhere: NatsBus
) -> None:
    """Its row would promise a subscription that is not there (R1)."""
    with pytest.raises(UnavailableError):
        await apply_modules(ledger, nowhere, [DETECT], pipeline="", actor="test")
    assert not await ledger.modules()
