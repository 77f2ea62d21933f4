"""Who calls, and which roles that is worth.

A certificate of `ion certs` carries its role in the subject (`CN=alice,OU=operator,O=ion`), so a small installation
keeps no table of people. Where a table of roles is given, it alone counts. Without one, any other certificate of the CA
is an admin's, as with the 2018 original. So is, on a server without TLS, the user that it runs as.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from ion.errors import DeniedError, InvalidError, UnsupportedError
from ion.management.access.certificate import ORGANIZATION, PIPELINE, Certificate, read_certificate
from ion.management.access.neighbour import Address, check_neighbour
from ion.management.access.revoked import Revoked
from ion.model.role import Grant, Role

UNKNOWN = "unknown"
_ALL = Grant(subject="*", role=Role.ADMIN)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, from where (`peer`), and what for. With a `refusal` (one sentence) the answer is always that."""

    actor: str
    grants: tuple[Grant, ...] = ()
    peer: str = ""
    refusal: str = ""

    @property
    def role(self) -> str:
        """The highest role, empty for none."""
        return max((grant.role for grant in self.grants), key=list(Role).index, default="")

    def pipelines(self, role: Role) -> frozenset[str] | None:
        """In which pipelines the caller may do what needs this role; None: in all.

        Raises:
            DeniedError: in none.
        """
        if self.refusal:
            raise DeniedError(self.refusal)
        enough = [grant for grant in self.grants if grant.role.covers(role)]
        if not enough:
            raise DeniedError(f"this needs the role {role}, and {self.actor} is {self.role} here: ask for it")
        if any(not grant.pipelines for grant in enough):
            return None
        return frozenset(name for grant in enough for name in grant.pipelines)


def neighbour(client: Address, server: Address, peer: str) -> Caller:
    """Who calls a server without TLS, from this host."""
    try:
        return Caller(actor=check_neighbour(client, server), grants=(_ALL,), peer=peer)
    except (DeniedError, UnsupportedError) as error:
        return Caller(actor=UNKNOWN, peer=peer, refusal=str(error))


class Callers:
    """Tells callers by their certificates. Raises InvalidError: a subject of the roles cannot be used."""

    def __init__(
        self,
        roles: Sequence[Grant] = (),
        revoked: Revoked | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._roles = [(pattern(grant.subject), grant) for grant in roles]
        self._revoked, self._clock = revoked or Revoked(None), clock

    def caller(self, pem: bytes, peer: str) -> Caller:
        """Whoever has this certificate and calls from `peer`."""
        found = read_certificate(pem)
        refusal = self._refusal(found)
        grants = () if refusal else tuple(self._grants(found))
        if not grants and not refusal:
            refusal = f"no role is given to {found.text}: add it to `management.roles`"
        return Caller(actor=found.holder, grants=grants, peer=peer, refusal=refusal)

    def _refusal(self, found: Certificate) -> str:
        """Its connection may be older than this."""
        if self._revoked.holds(found.issuer, found.serial):
            return f"the certificate {found.serial:x} of {found.holder} is revoked: ask for another"
        if not found.since <= self._clock() <= found.until:
            return f"the certificate {found.serial:x} of {found.holder} is not valid now: ask for another"
        return ""

    def _grants(self, found: Certificate) -> Iterable[Grant]:
        if self._roles:
            return (grant for wanted, grant in self._roles if fits(found, wanted))
        return (carried(found) if ORGANIZATION in found.values("O") else _ALL,)


def carried(found: Certificate) -> Grant:
    """The role that a certificate of `ion certs` carries; one without any (a server's) is a viewer's."""
    role, units = Role.VIEWER, found.values("OU")
    for unit in units:
        with contextlib.suppress(ValueError):
            role = Role(unit)
    pipelines = tuple(unit.removeprefix(PIPELINE) for unit in units if unit.startswith(PIPELINE))
    return Grant(subject=found.text, role=role, pipelines=pipelines)


def pattern(subject: str) -> tuple[tuple[str, str], ...]:
    """A subject as roles name it, taken apart. Raises InvalidError."""
    parts = [part.strip() for part in re.split(r"(?<!\\),", subject)]
    if parts == [part for part in parts if "=" not in part] and len(parts) == 1:
        parts = [f"CN={parts[0]}"]
    wanted = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not name.strip() or not equals or not value.strip():
            raise InvalidError(f"'{subject}' is no subject: write CN=NAME, or several attributes with commas between")
        wanted.append((name.strip().upper(), value.strip().replace("\\,", ",")))
    return tuple(wanted)


def fits(found: Certificate, wanted: Sequence[tuple[str, str]]) -> bool:
    """Whether the subject has every attribute that is wanted."""
    return all(any(_matches(value, glob) for value in found.values(name)) for name, glob in wanted)


def _matches(value: str, glob: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, glob.split("*"))), value, re.DOTALL) is not None
