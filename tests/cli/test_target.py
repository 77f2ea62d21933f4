"""Which Ion a command works on: flags, environment, contexts, the file, and what is there."""

from pathlib import Path
from typing import Any

import pytest

from ion.cli.target import LOCALHOST, Target, choose
from ion.errors import InvalidError, NotFoundError

CONFIG = """
Endpoint: file:1
TIMEOUT: 7
certfile: certs/me.crt
context: lab
contexts:
  lab: {endpoint: "lab:2", timeout: 1m}
  here: {store: data/.ion}
  bare:
"""


class Chooser:
    """A folder with a configuration; `of` chooses by flags and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ioncli.yaml"
        self.write(CONFIG)

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def of(self, environ: dict[str, str] | None = None, **flags: Any) -> Target:
        return choose({"config": self.config, **flags}, environ or {}, self.folder)

    def refused(self, environ: dict[str, str] | None = None, **flags: Any) -> str:
        with pytest.raises(InvalidError) as refused:
            self.of(environ, **flags)
        return str(refused.value)


@pytest.fixture
def chooser(tmp_path: Path) -> Chooser:
    return Chooser(tmp_path)


def make_store(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    return folder


def test_a_flag_wins_over_all(chooser: Chooser) -> None:
    """Flag, environment, context, file: the first that says it counts, each option by itself."""
    environ = {"ION_ENDPOINT": "env:3", "ION_TIMEOUT": "8"}
    flagged = chooser.of(environ, endpoint="flag:4", timeout="9s")
    assert (flagged.endpoint, flagged.timeout_s) == ("flag:4", 9.0)
    by_environment = chooser.of(environ)
    assert (by_environment.endpoint, by_environment.timeout_s) == ("env:3", 8.0)
    in_context = chooser.of()
    assert (in_context.endpoint, in_context.timeout_s) == ("lab:2", 60.0)
    top = chooser.of({"ION_CONTEXT": "bare"})
    assert (top.endpoint, top.timeout_s) == ("file:1", 7.0)
    assert {one.certfile for one in (flagged, by_environment, in_context, top)} == {chooser.folder / "certs/me.crt"}


def test_every_option_is_taken_from_the_environment(chooser: Chooser) -> None:
    """ION_ENDPOINT, ION_TIMEOUT, ION_CERTFILE, ION_KEYFILE, ION_CACERTFILE; names without the prefix are not taken."""
    names = {"ION_CERTFILE": "/a", "ION_KEYFILE": "/b", "ION_CACERTFILE": "/c", "ION_TIMEOUT": "250ms"}
    found = chooser.of(names)
    assert (found.certfile, found.keyfile, found.cacertfile, found.timeout_s) == (
        Path("/a"),
        Path("/b"),
        Path("/c"),
        0.25,
    )
    assert chooser.of({"ENDPOINT": "other:1", "TIMEOUT": "1"}).endpoint == "lab:2"


def test_a_context_that_is_named_by_a_flag_wins_over_the_environment(chooser: Chooser) -> None:
    """--context is as good as the flags that it stands for; ION_CONTEXT is not."""
    environ = {"ION_ENDPOINT": "env:3"}
    assert chooser.of(environ, context="lab").endpoint == "lab:2"
    assert chooser.of({**environ, "ION_CONTEXT": "lab"}).endpoint == "env:3"


def test_a_store_that_is_named_first_wins_over_an_endpoint(chooser: Chooser, tmp_path: Path) -> None:
    """--store counts whatever endpoint is configured; ION_HOME does where the environment names no endpoint."""
    store = make_store(tmp_path / "mine" / ".ion")
    assert chooser.of({"ION_ENDPOINT": "env:3"}, store=store).store == store
    assert chooser.of({"ION_HOME": str(store)}).store == store
    assert chooser.of({"ION_HOME": str(store), "ION_ENDPOINT": "env:3"}).endpoint == "env:3"
    assert chooser.of(context="here").store == chooser.folder / "data/.ion"


def test_without_a_word_it_is_the_store_here_or_above_and_then_localhost(chooser: Chooser, tmp_path: Path) -> None:
    """A guess: whoever named nothing is told so when nothing is there."""
    chooser.write("")
    guessed = chooser.of()
    assert (guessed.endpoint, guessed.store, guessed.named) == (LOCALHOST, None, False)
    store = make_store(tmp_path / ".ion")
    found = choose({"config": chooser.config}, {}, tmp_path / "deep" / "down")
    assert (found.endpoint, found.store) == ("", store)


def test_an_endpoint_and_a_store_at_once_are_refused(chooser: Chooser) -> None:
    """Said at one place, nobody knows which is meant."""
    assert "exclude one another" in chooser.refused(endpoint="a:1", store=Path("b"))
    chooser.write("contexts: {both: {endpoint: a, store: b}}")
    assert "context both names an endpoint and a store" in chooser.refused()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("endpiont: a", "has the unknown key 'endpiont'; did you mean 'endpoint'?"),
        ("contexts: {lab: {timout: 1}}", "context lab has the unknown key 'timout'; did you mean 'timeout'?"),
        ("contexts: {lab: {contexts: {}}}", "context lab has the unknown key 'contexts'"),
        ("endpoint: [a]", "'endpoint' must be a text or a number"),
        ("- a", "must be a mapping of names to values, not list"),
        ("contexts: lab", "`contexts` must be a mapping of names to values, not str"),
        ("endpoint: a\nENDPOINT: b", "says 'endpoint' twice"),
        ("{", "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_understood_is_refused(chooser: Chooser, text: str, sentence: str) -> None:
    """One sentence that names the file, the key and the nearest."""
    chooser.write(text)
    refused = chooser.refused()
    assert (sentence in refused, str(chooser.config) in refused, "\n" in refused) == (True, True, False), refused


def test_an_unknown_context_is_refused_with_the_nearest(chooser: Chooser) -> None:
    """Whoever named it: the flag, the environment or the file."""
    with pytest.raises(NotFoundError, match=r"there is no context 'lb' in .*; did you mean 'lab'"):
        chooser.of(context="lb")


@pytest.mark.parametrize("endpoint", ["https://ion.acme", "a:b", "a:0", "a:70000", "a b", ":9000"])
def test_an_endpoint_that_is_none_is_refused(chooser: Chooser, endpoint: str) -> None:
    """The sentence says what to write, and where it was said."""
    assert "(from the command line) cannot be used: write HOST:PORT" in chooser.refused(endpoint=endpoint)


def test_an_endpoint_without_a_port_has_the_originals(chooser: Chooser) -> None:
    """Port 9000; addresses of IPv6 stand in brackets."""
    assert chooser.of(endpoint="ion.acme").endpoint == "ion.acme:9000"
    assert chooser.of(endpoint="[::1]").endpoint == "[::1]:9000"


def test_a_time_limit_that_is_none_is_refused(chooser: Chooser) -> None:
    """Neither nonsense nor nothing; the sentence says where it was said."""
    assert "the timeout (from the environment)" in chooser.refused({"ION_TIMEOUT": "soon"})
    assert "longer than no time" in chooser.refused(timeout="0")
