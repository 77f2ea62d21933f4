"""Who calls: what certificates and the table of roles say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ion.errors import DeniedError, InvalidError
from ion.management.access.authority import Authority
from ion.management.access.callers import Callers
from ion.management.access.revoked import Revoked
from ion.model.role import Grant, Role


@pytest.fixture
def alice(authority: Authority) -> bytes:
    """A certificate of an operator in the pipeline media."""
    authority.client("alice", Role.OPERATOR, ["media"])
    return authority.files_of("alice").certificate.read_bytes()


def test_a_certificate_of_ours_carries_its_role(alice: bytes) -> None:
    """With the pipelines that it is for; who it is, is the name alone."""
    caller = Callers().caller(alice, "10.0.0.7:4711")
    assert (caller.actor, caller.role, caller.peer) == ("alice", "operator", "10.0.0.7:4711")
    assert caller.pipelines(Role.VIEWER) == frozenset({"media"})
    with pytest.raises(DeniedError, match="this needs the role admin, and alice is operator here"):
        caller.pipelines(Role.ADMIN)


def test_a_table_of_roles_alone_counts(alice: bytes) -> None:
    """Whatever the certificate carries; several grants add up, each for its own role."""
    roles = [
        Grant(subject="CN=alice,O=ion", role=Role.ADMIN, pipelines=("books",)),
        Grant(subject="CN=al*", role=Role.VIEWER),
        Grant(subject="CN=bob", role=Role.ADMIN),
    ]
    caller = Callers(roles).caller(alice, "")
    assert caller.pipelines(Role.VIEWER) is None
    assert caller.pipelines(Role.OPERATOR) == frozenset({"books"})


@pytest.mark.parametrize("subject", ["bob", "CN=alice,O=acme", "CN=lice", "O=*,CN=a", "OU=admin"])
def test_a_subject_that_does_not_fit_gives_nothing(alice: bytes, subject: str) -> None:
    """All attributes must be there, each as a whole; without any role every verb is refused with what to do."""
    caller = Callers([Grant(subject=subject, role=Role.ADMIN)]).caller(alice, "")
    with pytest.raises(DeniedError, match=r"no role is given to CN=alice.*`management\.roles`"):
        caller.pipelines(Role.VIEWER)


@pytest.mark.parametrize("subject", ["", "CN=", "CN=alice,", "=x", "alice,bob"])
def test_a_subject_that_is_none_is_refused_at_the_start(subject: str) -> None:
    """With one sentence that names it."""
    with pytest.raises(InvalidError, match="is no subject: write CN=NAME"):
        Callers([Grant(subject=subject, role=Role.ADMIN)])


def test_a_revoked_certificate_is_refused_as_soon_as_it_is_revoked(authority: Authority, alice: bytes) -> None:
    """The list is read again; others of the authority still hold."""
    callers = Callers((), Revoked(authority.revoked))
    assert not callers.caller(alice, "").refusal
    authority.client("bob", Role.VIEWER, [])
    authority.revoke("alice")
    refused = callers.caller(alice, "")
    with pytest.raises(DeniedError, match="of alice is revoked: ask for another"):
        refused.pipelines(Role.VIEWER)
    assert refused.role == ""
    assert not callers.caller(authority.files_of("bob").certificate.read_bytes(), "").refusal


def test_a_broken_list_leaves_the_last_good_one_in_force(
    authority: Authority, alice: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With one warning; a list that is good again counts."""
    authority.revoke("alice")
    callers = Callers((), Revoked(authority.revoked))
    good = authority.revoked.read_bytes()
    authority.revoked.write_bytes(good[:100])
    assert all("is revoked" in callers.caller(alice, "").refusal for _ in range(3))
    assert len([one for one in caplog.records if "the last good list stays in force" in one.message]) == 1
    authority.revoked.unlink()
    assert "is revoked" in callers.caller(alice, "").refusal


def test_a_list_that_is_not_there_yet_counts_once_it_is(authority: Authority, alice: bytes) -> None:
    """Somebody who is revoked later must not get in since the server was started without a list."""
    served = authority.revoked.with_name("of the server.pem")
    callers = Callers((), Revoked(served, needed=False))
    assert not callers.caller(alice, "").refusal
    authority.revoke("alice")
    served.write_bytes(authority.revoked.read_bytes())
    assert "is revoked" in callers.caller(alice, "").refusal


def test_a_list_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    """A server that took it would let in whom it names."""
    (tmp_path / "list.pem").write_text("nothing")
    with pytest.raises(InvalidError, match="holds no list in PEM"):
        Revoked(tmp_path / "list.pem")
    with pytest.raises(InvalidError, match="cannot be read: No such file"):
        Revoked(tmp_path / "none.pem")


def test_a_certificate_that_expired_since_is_refused(alice: bytes) -> None:
    """A connection may outlive the certificate that it was made with."""
    later = Callers(clock=lambda: datetime.now(UTC) + timedelta(days=366))
    assert "is not valid now" in later.caller(alice, "").refusal
