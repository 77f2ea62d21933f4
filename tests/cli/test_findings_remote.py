"""Finding, why, insights, the doctor and top, asked of a real server over mutual TLS and of a copy of its store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]
from tests.cli.programs import Folder
from tests.cli.remote import Remote, invoke
from tests.cli.terminal import Terminal

from ion.model.event import Event

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


@pytest.fixture
def served(bench: "Bench", flow: Event, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A server on a store with a flow that has ended, and one whose job waits."""
    del flow
    bench.photo("album-3")
    with Folder(tmp_path_factory.mktemp("remote")) as place:
        yield Remote(bench.store, place)


def test_findings_read_the_same(served: Remote, flow: Event) -> None:
    """What is found, why, and the exported rows do not depend on where the Ion is."""
    (job,) = json.loads(served.ion("job", "list", "-s", "dead", "--json").stdout)
    for command in (
        ("find", "--subject", "cat*"),
        ("find", "--insight", "faces=2", "--json"),
        ("job", "why", job["id"]),
        ("job", "why", job["id"], "--json"),
        ("insights", "export"),
        ("insights", "export", "--format", "jsonl", "-c", flow.correlation_id),
    ):
        assert served.same(*command).stdout, command
    for refused in (("find",), ("find", "--sha256", "xyz"), ("job", "why", "zzz"), ("find", "--subject", "no*")):
        assert not served.same(*refused).stdout, refused


def test_parquet_is_written_here(served: Remote, tmp_path: Path) -> None:
    """The rows come over the line, the file is this host's."""
    file = tmp_path / "found.parquet"
    served.ion("insights", "export", "-o", str(file))
    assert parquet.read_table(file)["key"].to_pylist() == ["faces"]


def test_the_doctor_finds_the_same(served: Remote) -> None:
    """Its symptoms are those of the server's store; figures of time and room may differ."""
    there = json.loads(served.ion("doctor", "--json", code=1).stdout)
    here = json.loads(invoke("--store", str(served.twin), "doctor", "--json", code=1).stdout)
    assert [found(one) for one in there] == [found(one) for one in here]


def found(symptom: dict[str, str]) -> tuple[str, ...]:
    """But for how long a store took to answer: one that took long is fine for this."""
    if "which is slow" in symptom["message"]:
        return (symptom["about"], "fine", "")
    return (symptom["about"], symptom["grade"], symptom["command"])


def test_top_shows_the_same_tables(served: Remote) -> None:
    """But for how long the oldest job waits."""
    there = served.ion("top", "--once").stdout.split("\n\n")
    here = invoke("--store", str(served.twin), "top", "--once").stdout.split("\n\n")
    assert [line.split()[:5] for line in there[1].splitlines()] == [line.split()[:5] for line in here[1].splitlines()]
    assert there[2:] == here[2:]


def test_a_client_that_was_not_let_in_is_told_by_the_doctor(served: Remote) -> None:
    """Without a certificate of its own it learns that it needs one."""
    out = invoke("--endpoint", served.endpoint, "--cacertfile", str(served.authority.ca), "doctor", code=1).stdout
    assert "so it wants a certificate of yours: give one by --cacertfile" in out


def test_top_outlives_its_server(served: Remote) -> None:
    """What was drawn stays, with a sentence below it; it asks again until it is ended."""
    view = Terminal(*served.options, "top", "--interval", "200ms")
    try:
        view.until(lambda text: "q ends" in text)
        served.server.kill()
        view.until(lambda text: "no answer from Ion" in text)
        view.type(b"q")
        assert view.ended() == 0
    finally:
        view.kill()


def test_top_of_nobody_ends_with_a_sentence(served: Remote) -> None:
    """An Ion that does not answer at the first look is none to watch."""
    served.server.kill()
    assert "no answer from Ion" in served.ion("top", code=1).stderr
