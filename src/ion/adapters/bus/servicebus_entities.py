"""Topics and subscriptions through the administration API, for identities that may manage."""

from datetime import timedelta
from typing import TYPE_CHECKING

from ion.adapters.bus.servicebus_errors import translated
from ion.adapters.bus.servicebus_names import subscription_name, topic_name
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.errors import InvalidError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from azure.servicebus.aio.management import ServiceBusAdministrationClient


class Entities:
    def __init__(self, client: "ServiceBusAdministrationClient", settings: ServiceBusSettings) -> None:
        self._client = client
        self._settings = settings

    async def make_topic(self, event_type: str) -> None:
        """With the event type in its description, for a name may be a hash."""
        name, window_s = topic_name(self._settings.prefix, event_type), self._settings.duplicate_window_s
        if await self._has_topic(name):
            return
        from azure.core.exceptions import ResourceExistsError

        try:
            with translated(f"making the topic {name}", self._settings.host):
                await self._client.create_topic(
                    name,
                    default_message_time_to_live=timedelta(seconds=self._settings.message_ttl_s),
                    requires_duplicate_detection=window_s > 0,
                    duplicate_detection_history_time_window=timedelta(seconds=window_s) if window_s else None,
                    user_metadata=event_type,
                )
        except UnavailableError as error:  # 409 is also what a second maker gets while the first is at it
            if not isinstance(error.__cause__, ResourceExistsError) or not await self._has_topic(name):
                raise

    async def make_subscription(self, event_type: str, group: str) -> None:
        topic, name = topic_name(self._settings.prefix, event_type), subscription_name(event_type, group)
        if await self._has_subscription(topic, name):
            return
        from azure.core.exceptions import ResourceExistsError

        try:
            with translated(f"making the subscription {name} of the topic {topic}", self._settings.host):
                await self._client.create_subscription(
                    topic,
                    name,
                    lock_duration=timedelta(seconds=self._settings.lock_s),
                    default_message_time_to_live=timedelta(seconds=self._settings.message_ttl_s),
                    dead_lettering_on_message_expiration=True,
                    max_delivery_count=self._settings.most_deliveries,
                    user_metadata=group[:1024],
                )
        except UnavailableError as error:
            if not isinstance(error.__cause__, ResourceExistsError) or not await self._has_subscription(topic, name):
                raise

    async def types_of(self, group: str) -> list[str]:
        """The event types that a group is subscribed to."""
        found: list[str] = []
        with translated("listing topics", self._settings.host):
            async for topic in self._client.list_topics():
                event_type = self._event_type(topic.name, topic.user_metadata or "")
                if event_type and await self._has_subscription(topic.name, subscription_name(event_type, group)):
                    found.append(event_type)
        return found

    async def waiting(self, event_type: str, group: str) -> int:
        """Dead letters included, for they are received too."""
        topic, name = topic_name(self._settings.prefix, event_type), subscription_name(event_type, group)
        try:
            with translated(f"counting what waits in {name} of the topic {topic}", self._settings.host):
                counts = await self._client.get_subscription_runtime_properties(topic, name)
        except NotFoundError:
            return 0
        return (counts.active_message_count or 0) + (counts.dead_letter_message_count or 0)

    async def _has_topic(self, name: str) -> bool:
        try:
            with translated(f"looking for the topic {name}", self._settings.host):
                await self._client.get_topic(name)
        except NotFoundError:
            return False
        return True

    async def _has_subscription(self, topic: str, name: str) -> bool:
        try:
            with translated(f"looking for the subscription {name} of the topic {topic}", self._settings.host):
                await self._client.get_subscription(topic, name)
        except NotFoundError:
            return False
        return True

    def _event_type(self, topic: str, described: str) -> str:
        """What is written in its description if that gives this name, else the name itself; "" for others' topics."""
        plain = topic.removeprefix(self._settings.prefix) if topic.startswith(self._settings.prefix) else ""
        for event_type in (described, plain):
            try:
                if event_type and topic_name(self._settings.prefix, event_type) == topic.lower():
                    return event_type
            except InvalidError:
                continue
        return ""
