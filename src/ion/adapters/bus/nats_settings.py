"""How a NATS server is reached, and what Ion keeps there. No client is imported here: the pipeline file needs this."""

from typing import ClassVar

import msgspec

from ion.errors import InvalidError

DAY_S = 86400.0


class NatsTls(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Encryption: absolute paths of PEM files. Without `ca` the system's authorities are trusted; `cert` and `key`
    are this client's own, where the server asks for one.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise InvalidError("cert and key belong together; write both or none")


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream on one NATS server or cluster, which must have JetStream.

    `servers` are tried in any order. `stream` is the stream's name and `prefix` stands before its subjects; two Ions
    that share a server differ in both. `replicas` is how many servers of a cluster keep each event.

    An event that some group has not acknowledged is dropped after `max_age_s` seconds, None for never; new events are
    refused while `max_bytes` are waiting, 0 for no bound but the server's. An id published again within
    `dedupe_window_s` seconds is dropped. A delivery whose receiver is not heard of for `ack_wait_s` seconds comes
    again. An answer may take `timeout_s` seconds.

    `user` and `password`, or `token`, or the path `credentials` of a file that `nsc` made, say who this is.
    `password` and `token` are masked in `repr`.
    """

    secrets: ClassVar[tuple[str, ...]] = ("password", "token")

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    stream: str = "ION"
    prefix: str = "ion"
    replicas: int = 1
    max_age_s: float | None = 14 * DAY_S
    max_bytes: int = 0
    dedupe_window_s: float = 120.0
    ack_wait_s: float = 30.0
    timeout_s: float = 5.0
    user: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""
    tls: NatsTls | None = None

    def __post_init__(self) -> None:
        if self.token and self.user:
            raise InvalidError("user and token are two ways to say who this is; write one of them")
        if not self.servers:
            raise InvalidError("servers is empty; name at least one")
        if self.max_age_s is not None and self.max_age_s < self.dedupe_window_s:
            raise InvalidError("max_age is shorter than dedupe_window; make it longer")

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "***" for name in self.secrets if shown[name]}
        return f"NatsSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
