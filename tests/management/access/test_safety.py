"""Where the API may be bound, and what it takes, by its settings."""

from pathlib import Path

import msgspec
import pytest

from ion.config.settings import Served
from ion.errors import InvalidError
from ion.management.access.authority import Authority
from ion.model.role import Grant, Role
from ion.wiring.api import safety


def served(authority: Authority, **more: object) -> Served:
    certificate, key, ca = map(str, authority.server)
    return Served(certificate=certificate, key=key, ca=ca, **more)  # type: ignore[arg-type]


def test_with_tls_it_is_bound_to_every_interface(authority: Authority) -> None:
    """Unless an address is named; without, to loopback."""
    assert safety(served(authority)).host == "0.0.0.0"
    assert safety(served(authority, host="10.0.0.7")).host == "10.0.0.7"
    assert [safety(Served(host=host)).host for host in ("", "localhost", "127.0.0.2", "::1")] == [
        "127.0.0.1", "127.0.0.1", "127.0.0.2", "::1",
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "ion.acme", "127.0.0.1.example.com"])
def test_without_tls_no_other_address_is_bound(host: str) -> None:
    """A name may stand for anything; the sentence says what to do."""
    with pytest.raises(InvalidError, match=f"open to anyone on {host}: give it a certificate"):
        safety(Served(host=host))


@pytest.mark.parametrize(("lacking", "said"), [
    (("key",), "key is not given"), (("ca",), "ca is not given"),
    (("certificate", "key"), "certificate, key is not given"),
])  # fmt: skip
def test_half_of_tls_is_refused(authority: Authority, lacking: tuple[str, ...], said: str) -> None:
    """Whoever names one of the files means all of them."""
    with pytest.raises(InvalidError, match=said):
        safety(msgspec.structs.replace(served(authority), **dict.fromkeys(lacking, "")))


def test_the_list_beside_the_authority_is_read_unless_another_is_named(
    authority: Authority, stranger: Authority
) -> None:
    """A server on the folder of `ion certs` honours revocations without a further word."""
    authority.client("alice", Role.VIEWER, [])
    alice = authority.files_of("alice").certificate.read_bytes()
    authority.revoke("alice")
    beside, other = safety(served(authority)), safety(served(authority, revoked=str(stranger.revoked)))
    assert beside.callers is not None
    assert other.callers is not None
    assert beside.callers.caller(alice, "").refusal
    assert not other.callers.caller(alice, "").refusal
    with pytest.raises(InvalidError, match="nowhere cannot be read"):
        safety(served(authority, revoked="nowhere"))
    authority.revoked.unlink()
    assert safety(served(authority)).callers is not None


def test_roles_that_cannot_be_used_are_refused_when_it_starts(authority: Authority) -> None:
    """Not when somebody calls."""
    with pytest.raises(InvalidError, match="'alice, bob' is no subject"):
        safety(served(authority, roles=(Grant(subject="alice, bob", role=Role.ADMIN),)))


def test_files_that_are_not_there_are_refused(authority: Authority, tmp_path: Path) -> None:
    """With the name of the file."""
    authority.server.key.unlink()
    with pytest.raises(InvalidError, match=r"server\.key cannot be read: No such file"):
        safety(served(authority))
