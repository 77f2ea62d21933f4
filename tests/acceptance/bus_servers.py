"""The buses of the acceptance tests, each on a server of its own that may be killed and started again on what it kept.

NATS and RabbitMQ are real; of Azure Service Bus there is the double that the adapter's own tests use.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from tests.buses.nats_server import NatsServer
from tests.buses.rabbit import CONFIGURATION, opened
from tests.buses.servicebus_double.access import KEYS
from tests.buses.servicebus_double.process import Double

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.rabbitmq import open_rabbit
from ion.adapters.bus.servicebus import open_servicebus
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.ports.bus import Bus

SECRET = "s3cret"
LOCK_S = 5


class BusServer(Protocol):
    """`section`: what a pipeline file says of it. `environ`: its secret, as the file names it; `override`: the same as
    Ion finds it without the file. `news`: finds in a log, as its
    only group, what is said when it goes and when it is back.
    """

    section: str
    environ: Mapping[str, str]
    override: Mapping[str, str]
    secret: str
    peeks: bool
    news: re.Pattern[str]

    def bus(self) -> AbstractAsyncContextManager[Bus]:
        """The same bus for somebody outside of Ion's store."""

    def kill(self) -> None: ...

    def start(self) -> None:
        """Returns when it listens."""

    def close(self) -> None: ...


class Nats:
    peeks = True
    secret = SECRET
    environ: Mapping[str, str] = {"SECRET_OF_BUS": SECRET}
    override: Mapping[str, str] = {"ION_BUS_PASSWORD": SECRET}
    news = re.compile(r"nats_connection: the bus NATS at \S+ is (away|back)")

    def __init__(self, folder: Path) -> None:
        self._server = NatsServer(folder, f'authorization {{ user: ion, password: "{SECRET}" }}')
        self.section = f"kind: nats, servers: {self._server.url}, user: ion, password: '${{SECRET_OF_BUS}}'"
        self.start()

    def bus(self) -> AbstractAsyncContextManager[Bus]:
        return NatsBus(NatsSettings(servers=(self._server.url,), user="ion", password=SECRET))

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()
        self._server.wait()

    def close(self) -> None:
        self._server.kill()


class Rabbit:
    peeks = False
    secret = SECRET
    environ: Mapping[str, str] = {"SECRET_OF_BUS": SECRET}
    override: Mapping[str, str] = {"ION_BUS_PASSWORD": SECRET}
    news = re.compile(r"rabbitmq_link: RabbitMQ at \S+ (is away|works again)")

    def __init__(self, folder: Path) -> None:
        self._broker = opened(folder, f"{CONFIGURATION}default_user = ion\ndefault_pass = {SECRET}\n")
        self.section = f"kind: rabbitmq, port: {self._broker.port}, user: ion, password: '${{SECRET_OF_BUS}}'"

    def bus(self) -> AbstractAsyncContextManager[Bus]:
        return open_rabbit(self._broker.settings(user="ion", password=SECRET))

    def kill(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker.start()

    def close(self) -> None:
        self._broker.close()


class ServiceBus:
    peeks = True
    secret = KEYS["root"]
    news = re.compile(r"servicebus_errors: Azure Service Bus \S+ is (away|back)")

    def __init__(self, folder: Path) -> None:
        self._double = Double(folder)
        self._double.start()
        self.environ: Mapping[str, str] = {"SECRET_OF_BUS": self._double.connection_string()}
        self.override: Mapping[str, str] = {"ION_BUS_CONNECTION_STRING": self._double.connection_string()}
        self.section = (
            f"kind: servicebus, connection_string: '${{SECRET_OF_BUS}}', ca: {self._double.ca_file}, lock: {LOCK_S}s"
        )

    def bus(self) -> AbstractAsyncContextManager[Bus]:
        address = self._double.connection_string()
        return open_servicebus(
            ServiceBusSettings(connection_string=address, ca_file=str(self._double.ca_file), lock_s=LOCK_S)
        )

    def kill(self) -> None:
        self._double.kill()

    def start(self) -> None:
        self._double.start()

    def close(self) -> None:
        self._double.kill()


SERVERS: Mapping[str, Callable[[Path], BusServer]] = {"nats": Nats, "rabbitmq": Rabbit, "servicebus": ServiceBus}
