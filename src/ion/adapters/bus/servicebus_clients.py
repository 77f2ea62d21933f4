"""The vendor's clients, imported and made when they are first needed: that takes longer than most commands."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ion.adapters.bus.servicebus_entities import Entities
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import InvalidError

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

RETRIES = 0
"""Of the client for messages, which leaves the connection that failed open when it makes another; retries are made
elsewhere.
"""


class Clients:
    """One for messages, one for topics and subscriptions. Neither connects before it is asked for something.

    Both raise InvalidError where the settings do not say which namespace, or not with which key.
    """

    def __init__(self, settings: ServiceBusSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._making = asyncio.Lock()
        self._credential: Any = None
        self._messages: ServiceBusClient | None = None
        self._entities: Entities | None = None

    async def messages(self) -> "ServiceBusClient":
        async with self._making:
            if self._messages is None:
                await self._prepare()
                with _readable():
                    client = self._make_client()
                self._messages = await self._stack.enter_async_context(client)
            return self._messages

    async def entities(self) -> Entities:
        """For an identity that may manage."""
        async with self._making:
            if self._entities is None:
                await self._prepare()
                with _readable():
                    client = self._make_administration()
                self._entities = Entities(await self._stack.enter_async_context(client), self._settings)
            return self._entities

    async def close(self) -> None:
        await self._stack.aclose()

    async def _prepare(self) -> None:
        """What both need."""
        self._settings.check_reachable()
        _quieten()
        if self._settings.namespace and self._credential is None:
            from azure.identity.aio import DefaultAzureCredential

            self._credential = await self._stack.enter_async_context(DefaultAzureCredential())

    def _make_client(self) -> "ServiceBusClient":
        from azure.servicebus import TransportType
        from azure.servicebus.aio import ServiceBusClient

        options: dict[str, Any] = {
            "retry_total": RETRIES,
            "try_timeout": self._settings.answer_s,
            "transport_type": TransportType.AmqpOverWebsocket if self._settings.websockets else TransportType.Amqp,
            "connection_verify": self._settings.ca_file or None,
        }
        if self._credential is not None:
            return ServiceBusClient(self._settings.namespace, self._credential, **options)
        return ServiceBusClient.from_connection_string(self._settings.connection_string, **options)

    def _make_administration(self) -> Any:
        from azure.servicebus.aio.management import ServiceBusAdministrationClient

        options: dict[str, Any] = {
            "retry_total": 3,
            "connection_timeout": self._settings.answer_s,
            "read_timeout": self._settings.answer_s,
            "connection_verify": self._settings.ca_file or True,
        }
        if self._credential is not None:
            return ServiceBusAdministrationClient(self._settings.namespace, self._credential, **options)
        return ServiceBusAdministrationClient.from_connection_string(self._settings.connection_string, **options)


@contextmanager
def _readable() -> Iterator[None]:
    """What the client says of a bad connection string is left out: it might be a part of it."""
    try:
        yield
    except ValueError:
        raise InvalidError(
            "the connection string of Azure Service Bus cannot be read; copy all of it, with Endpoint, "
            "SharedAccessKeyName and SharedAccessKey"
        ) from None


def _quieten() -> None:
    """The client logs each failure as an error with a traceback; here it becomes one sentence. A level that somebody
    has set stays.
    """
    for name in ("azure.servicebus", "azure.core", "azure.identity"):
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
