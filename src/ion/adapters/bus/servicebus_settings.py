"""How Ion reaches an Azure Service Bus namespace, and how it makes what is missing there."""

import re
from typing import ClassVar

import msgspec

from ion.errors import InvalidError

_DAY_S = 86400.0
_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9._-]{0,49})?")
_ENDPOINT = re.compile(r"endpoint\s*=\s*sb://([^;/]+)", re.IGNORECASE)


class ServiceBusSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Times in seconds, sizes in bytes. One of `connection_string` and `namespace` is set once the bus is opened."""

    secrets: ClassVar[tuple[str, ...]] = ("connection_string",)

    connection_string: str = ""
    """With a shared access key; a secret."""
    namespace: str = ""
    """`NAME.servicebus.windows.net`; the credential is whatever identity `DefaultAzureCredential` finds."""
    prefix: str = ""
    """Stands before every topic's name, so that several Ions can share a namespace. Lower case."""
    may_manage: bool = True
    """Whether the identity has the Manage right: then missing topics and subscriptions are made and depths are told."""
    lock_s: float = 60.0
    """How long a delivery is locked, and so how soon what a killed process held comes again; 5 to 300. It is renewed
    for as long as the delivery is held. Of what Ion makes."""
    message_ttl_s: float = 14 * _DAY_S
    """After this a message that nobody took becomes a dead letter, which Ion takes too. Of what Ion makes."""
    duplicate_window_s: float = 600.0
    """For how long a topic knows an event again by its id; 20 s to 7 days, 0 for never. Of what Ion makes."""
    most_deliveries: int = 2_147_483_647
    """After so many deliveries a message becomes a dead letter. Of what Ion makes."""
    event_limit: int = 245_760
    """The largest event. The standard tier takes messages of 256 KiB with their headers, premium more."""
    answer_s: float = 30.0
    """How long the broker may take for an answer before it counts as away."""
    probe_s: float = 30.0
    """After so long without a message a waiting receiver asks whether the broker is still there."""
    busy_s: float = 10.0
    """For how long nothing is sent after the broker said that it is busy."""
    dead_letters_every_s: float = 60.0
    """How often a subscription's dead letters are looked at."""
    websockets: bool = False
    """Whether to use port 443 instead of 5671, for networks that let nothing else out."""
    ca_file: str = ""
    """The certificates that are trusted, PEM; empty for those that come with the client."""

    def check_reachable(self) -> None:
        """Raises InvalidError where it is not said which namespace, or twice."""
        if bool(self.connection_string) == bool(self.namespace):
            raise InvalidError(
                "Azure Service Bus needs either a connection string or a namespace; set one of them, the former "
                "perhaps as ION_BUS_CONNECTION_STRING"
            )

    def __post_init__(self) -> None:
        if self.connection_string and not _ENDPOINT.search(self.connection_string):
            raise InvalidError("the connection string of Azure Service Bus names no endpoint; copy all of it")
        if not _PREFIX.fullmatch(self.prefix):
            raise InvalidError(
                f"the prefix {self.prefix[:60]!r} cannot begin a topic's name; use up to 50 of a-z, 0-9, '.', '_', '-'"
            )
        _check("lock_s", self.lock_s, 5.0, 300.0)
        _check("message_ttl_s", self.message_ttl_s, 60.0, 3650 * _DAY_S)
        if self.duplicate_window_s:
            _check("duplicate_window_s", self.duplicate_window_s, 20.0, 7 * _DAY_S)
        _check("most_deliveries", self.most_deliveries, 1, 2_147_483_647)
        _check("event_limit", self.event_limit, 1024, 100 * 1024 * 1024)

    @property
    def host(self) -> str:
        """The namespace's address, as messages name it."""
        found = _ENDPOINT.search(self.connection_string)
        return found.group(1) if found else self.namespace

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.connection_string:
            shown["connection_string"] = f"Endpoint=sb://{self.host};***"
        return f"ServiceBusSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidError(f"{name} of Azure Service Bus must be from {least:g} to {most:g}, not {value:g}")
