"""What the bus on RabbitMQ can be told."""

import re
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import msgspec

from ion.errors import InvalidError

_AGE_MOST_S = 49 * 86400
"""RabbitMQ counts milliseconds in 32 bits."""
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")


class RabbitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the broker is, and how it is used. The password is masked in `repr`."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    host: str = "127.0.0.1"
    """The broker's name or address."""
    port: int = 0
    """Its port; 0 for the usual one: 5672, with TLS 5671."""
    user: str = "guest"
    """Who Ion is to the broker; needs to configure, write and read what begins with `prefix`."""
    password: str = ""
    """That user's password; never shown. Empty: RabbitMQ's own, which it accepts from loopback only."""
    vhost: str = "/"
    """The virtual host."""
    tls: bool = False
    """Whether the line is encrypted and the broker's certificate checked."""
    tls_ca: str = ""
    """A PEM file of the authorities that may have signed the broker's certificate; empty: the system's."""
    tls_cert: str = ""
    """A PEM file with this client's certificate, where the broker asks for one."""
    tls_key: str = ""
    """A PEM file with that certificate's key; empty: it lies in `tls_cert`."""
    prefix: str = "ion"
    """What every exchange's and queue's name begins with: letters, digits, `-` and `_`. One Ion, one prefix."""
    prefetch: int = 500
    """Events that one receiver holds at most, unacknowledged; the broker gives it no more."""
    publish_window: int = 500
    """Events of one publication that wait for their confirmation at a time."""
    queue_limit: int = 0
    """Events that may wait for one group; then publishing is refused until there is room. 0: no bound."""
    max_age_s: float | None = 14 * 86400.0
    """After so many seconds an event is dropped that a group did not take; None: never. At most 49 days."""
    event_limit_bytes: int = 16 * 1024 * 1024
    """The largest event; no more than the broker's `max_message_size` (16 MiB from 4.0 on, 128 MiB before)."""
    timeout_s: float = 10.0
    """Seconds that the broker may take to answer or to confirm before it counts as away."""
    heartbeat_s: int = 5
    """Seconds between signs of life on an idle line. A dead one is noticed after about three of them."""

    @classmethod
    def from_url(cls, url: str, **others: object) -> "RabbitSettings":
        """Settings from `amqp://user:password@host:port/vhost`, or `amqps://` for TLS, with `others` beside it."""
        try:
            parts = urlsplit(url)
            port = parts.port or 0
        except ValueError as error:
            raise InvalidError(f"the RabbitMQ address cannot be read ({error}); write amqp://user@host:port") from error
        if parts.scheme not in ("amqp", "amqps"):
            raise InvalidError("a RabbitMQ address begins with amqp:// or amqps://")
        found = {
            "host": parts.hostname,
            "port": port,
            "user": parts.username and unquote(parts.username),
            "password": parts.password and unquote(parts.password),
            "vhost": unquote(parts.path[1:]),
            "tls": parts.scheme == "amqps",
        }
        return msgspec.convert({name: value for name, value in found.items() if value} | others, cls)

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix) or self.prefix == "amq":  # the broker's own
            raise InvalidError(f"the prefix {self.prefix!r} must have 1 to 40 letters, digits, - and _, and not be amq")
        if not 1 <= self.prefetch <= 65535:
            raise InvalidError(f"the prefetch must be from 1 to 65535 events, not {self.prefetch}")
        if self.timeout_s <= 0 or self.heartbeat_s < 1 or self.publish_window < 1 or self.event_limit_bytes < 1:
            raise InvalidError("timeout_s, heartbeat_s, publish_window and event_limit_bytes must be above 0")
        if self.max_age_s is not None and not 1 <= self.max_age_s <= _AGE_MOST_S:
            raise InvalidError(f"the max_age_s must be from 1 s to {_AGE_MOST_S} s (49 days), not {self.max_age_s:g}")
        if self.queue_limit < 0:
            raise InvalidError(f"the queue_limit must be 0 (no bound) or a number of events, not {self.queue_limit}")
        if (self.tls_ca or self.tls_cert or self.tls_key) and not self.tls:
            raise InvalidError("a certificate is given, but tls is off; set tls to true")
        if self.tls_key and not self.tls_cert:
            raise InvalidError("the bus has a tls.key without its tls.cert; give both, or tls.cert alone")

    @property
    def address(self) -> str:
        """The broker without anything secret."""
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{self.host}:{self.port or (5671 if self.tls else 5672)}/{self.vhost.removeprefix('/')}"

    def __repr__(self) -> str:
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        fields = (f"{name}={'***' if name == 'password' and value else repr(value)}" for name, value in shown)
        return f"RabbitSettings({', '.join(fields)})"
