"""What a certificate says of whom it was given to."""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography import x509

ORGANIZATION = "ion"
"""The organization in the subjects of `ion certs`, which carry a role."""

PIPELINE = "pipeline:"
"""What the organizational units begin with that name a pipeline."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` are its attributes by short name (CN, OU, O), in the order in which RFC 4514 writes them; `issuer` is
    the DER form of its issuer's name, which with the `serial` makes it unique.
    """

    subject: tuple[tuple[str, str], ...]
    text: str
    serial: int
    issuer: bytes
    since: datetime
    until: datetime

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an attribute; there may be several, or none."""
        return tuple(value for attribute, value in self.subject if attribute == name)

    @property
    def holder(self) -> str:
        """Who it is in the trail and in the history of jobs: a name where our own CA gave it, else the subject."""
        names = self.values("CN")
        return names[0] if names and ORGANIZATION in self.values("O") else self.text


@lru_cache(maxsize=1024)
def read_certificate(pem: bytes) -> Certificate:
    """The certificate of a PEM text. Cheap for one that was seen lately: every call brings it."""
    from cryptography import x509

    return certificate(x509.load_pem_x509_certificate(pem))


def certificate(found: "x509.Certificate") -> Certificate:
    """What we want to know of it."""
    name = found.subject
    subject = tuple((a.rfc4514_attribute_name, _text(a.value)) for rdn in reversed(name.rdns) for a in rdn)
    return Certificate(
        subject=subject,
        text=name.rfc4514_string(),
        serial=found.serial_number,
        issuer=found.issuer.public_bytes(),
        since=found.not_valid_before_utc,
        until=found.not_valid_after_utc,
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()
