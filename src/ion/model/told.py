"""What a handler that runs in a place of its own says when it ends: JSON that fits into a container's last message."""

import msgspec

MOST = 4096
"""Bytes of a container's termination message; what is longer Kubernetes cuts."""


class ToldFailure(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is the word of a `FailureClass`."""

    kind: str
    message: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of prepare: `execution` and `prepared_at_s` (since the epoch). Of commit: `execution`, the blob path of its
    `manifest`, and when it `began_s`. Of either, where it did not do its work: `failure`.
    """

    execution: str = ""
    prepared_at_s: float = 0.0
    manifest: str = ""
    began_s: float = 0.0
    failure: ToldFailure | None = None


def encode(told: Told) -> bytes:
    """At most `MOST` bytes: the message of a failure is cut where it is too long."""
    raw = msgspec.json.encode(told)
    if len(raw) <= MOST or told.failure is None:
        return raw
    kept = told.failure.message.encode()[: MOST // 8].decode(errors="ignore")  # six bytes each as JSON, if need be
    return msgspec.json.encode(Told(failure=ToldFailure(kind=told.failure.kind, message=f"{kept}…")))
