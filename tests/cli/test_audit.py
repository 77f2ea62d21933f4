"""`ion audit`: every kind of damage is found, told with what it is about, and nothing else is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.stores import Stores
from ion.model.event import Event

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

Damage = Callable[["Bench"], None]


def sql(statement: str) -> Damage:
    def damage(bench: "Bench") -> None:
        connection = sqlite3.connect(bench.store / "ion.db")
        assert connection.execute(statement).rowcount > 0
        connection.commit()
        connection.close()

    return damage


def blob(bench: "Bench", pattern: str) -> Path:
    (found,) = bench.store.glob(f"blobs/*/*/*/*/{pattern}")
    return found


def shortened(bench: "Bench") -> None:
    file = blob(bench, "data/boxed.jpg")
    file.chmod(0o644)
    file.write_bytes(b"a")


def exchanged(bench: "Bench") -> None:
    file = blob(bench, "data/boxed.jpg").parent.parent / "manifest.json"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"boxed", b"caged"))


def stray(bench: "Bench") -> None:
    async def put(stores: Stores) -> None:
        await stores.blobs.put_bytes("nobody/1/x/data/a", b"1")

    bench.do(put)


def test_a_sound_store_has_no_findings(bench: "Bench", flow: Event) -> None:
    """A flow with a released and a dead job, and what was kept of both, is as it should be."""
    assert flow.id
    result = bench.ion("audit")
    assert result.stdout == ""
    assert "0 faults, 0 notes" in result.stderr


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda bench: blob(bench, "data/boxed.jpg").unlink(), "its file boxed.jpg"),
        (lambda bench: blob(bench, "data/boxed.jpg").unlink(), "its input boxed.jpg"),
        (shortened, "has 1 bytes, and 14 were committed"),
        (exchanged, "is not the one that was committed"),
        (lambda bench: (blob(bench, "data/boxed.jpg").parent.parent / "manifest.json").unlink(), "is not stored"),
        (sql("DELETE FROM records WHERE kind = 'insight'"), "its insights have no record"),
        (sql("DELETE FROM records WHERE kind = 'modulelogs'"), "its log has no record"),
        (sql("DELETE FROM records WHERE kind = 'eventMeta'"), "has no record"),
        (sql("UPDATE tallies SET released = released + 1 WHERE module = 'detect'"), "its tally says"),
        (sql("UPDATE tallies SET waiting = waiting + 1 WHERE module = 'detect'"), "it counts 1 open jobs and has 0"),
        (
            sql("DELETE FROM manifests WHERE job IN (SELECT seq FROM jobs WHERE module = 'detect')"),
            "it is released without a manifest",
        ),
        (sql("UPDATE jobs SET execution = 'other' WHERE module = 'detect'"), "is of another execution"),
        (sql("UPDATE jobs SET log = 'a/1/b/log.txt' WHERE module = 'count'"), "its log a/1/b/log.txt is not stored"),
        (sql("UPDATE jobs SET event = json_set(event, '$.subject', printf('%.70000c', 'x'))"), "its row has"),
    ],
)
def test_a_broken_promise_is_found(bench: "Bench", flow: Event, damage: Damage, sentence: str) -> None:
    """Damage to blobs, records, rows and tallies is a fault, and the exit code says so."""
    assert flow.id
    damage(bench)
    told = bench.ion("audit", code=1).stdout
    assert sentence in told
    assert all(line.startswith(("fault: ", "note: ")) for line in told.splitlines())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (stray, "note: nobody/1/x: 1 blob that no job names"),
        (sql("DELETE FROM jobs WHERE module = 'count'"), "has no job of module count, which hears 'face'"),
    ],
)
def test_what_may_be_is_only_noted(bench: "Bench", flow: Event, damage: Damage, sentence: str) -> None:
    """Left-over blobs, and a module that may have come later, break no promise."""
    assert flow.id
    damage(bench)
    if "no job of" in sentence:  # a job that was never there is in no tally either
        sql("DELETE FROM tallies WHERE module = 'count'")(bench)
    told = bench.ion("audit").stdout
    assert sentence in told
    assert bench.json("audit", "--json")[0]["severity"] == "note"
