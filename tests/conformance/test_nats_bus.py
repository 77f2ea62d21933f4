"""The bus on a real NATS server, against the suite of every adapter, and what NATS's promises beyond it."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from tests.buses.nats_server import NatsServer

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.ports.bus import Bus
from ion.testing.conformance.bus import BusConformance

HOLD_S = 6.0
"""So short that a test can wait for it; a receiver that lives keeps what it holds all the same."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


class TestNatsBus(BusConformance):
    hold_s = HOLD_S

    @pytest.fixture(autouse=True)
    def settings_of(self, server: NatsServer) -> None:
        self.settings = NatsSettings(servers=(server.url,), ack_wait_s=HOLD_S, timeout_s=60.0)

    def open_bus(self) -> AbstractAsyncContextManager[Bus]:
        return NatsBus(self.settings)

    def elsewhere(self) -> str:
        return f"""
from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings

def open_bus():
    return NatsBus(NatsSettings(servers={self.settings.servers!r}, ack_wait_s={HOLD_S}, timeout_s=60.0))
"""
