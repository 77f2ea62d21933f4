"""Where the front API may be reached from."""

import pytest

from ion.config.settings import Front
from ion.errors import InvalidError
from ion.gateway.limits import bind_host


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        (Front(), "127.0.0.1"),
        (Front(host="localhost"), "localhost"),
        (Front(host="::1"), "::1"),
        (Front(tokens=("t",)), "0.0.0.0"),
        (Front(open=True), "0.0.0.0"),
        (Front(tokens=("t",), host="10.0.0.1"), "10.0.0.1"),
    ],
)
def test_the_address_follows_from_who_may_come_in(settings: Front, host: str) -> None:
    """Loopback unless tokens are asked for, or it is open on purpose."""
    assert bind_host(settings) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "ion.example"])
def test_an_unguarded_address_is_refused(host: str) -> None:
    """An address that others reach is refused without tokens, with what to set."""
    with pytest.raises(InvalidError, match="tokens"):
        bind_host(Front(host=host))


@pytest.mark.parametrize("token", ["", " ", "tökén"])
def test_a_token_that_guards_nothing_is_refused(token: str) -> None:
    """An empty token would let anyone in, and one outside ASCII no header can carry."""
    with pytest.raises(InvalidError, match="token"):
        bind_host(Front(tokens=("good", token)))


def test_tokens_are_not_shown() -> None:
    """Settings may be logged; tokens may not."""
    assert "secret" not in f"{Front(tokens=('secret',))!r}{Front(tokens=('secret',))}"
