"""The doctor on real stores: each thing that is amiss is told once, as grave as it is, with what to type next."""

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.cli.conftest import MODULES, OWNER, Bench
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.none import NoBus
from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.sqlite.database import Database
from ion.dispatcher.ownership import this_host
from ion.dispatcher.stores import Stores
from ion.handler import JobHandler
from ion.management.events import RootEvent, raise_event
from ion.management.local import LocalManagement
from ion.management.local.doctor import compare_clocks, room
from ion.management.verbs.server import Grade, Symptom
from ion.model.ids import job_id
from ion.model.job import Hold, Job
from ion.model.retention import Retention
from ion.ports.ledger import Control, Owner
from ion.wiring import open_management

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FACE = '{"type": "face"}'
HOUR_AGO = "strftime('%s', 'now') - 3600"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.apply(*MODULES)
    return bench


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server of the test's own, to be killed."""
    with postgres_server() as server:
        yield server


def examined(bench: Bench) -> list[Symptom]:
    async def run() -> list[Symptom]:
        async with open_management(bench.store) as management:
            return [symptom async for symptom in management.server.doctor()]

    return asyncio.run(run())


def amiss(bench: Bench) -> dict[str, Symptom]:
    """What is not fine, by what it is about; of a store that keeps everything for ever, as these do."""
    found = [symptom for symptom in examined(bench) if symptom.grade is not Grade.FINE]
    told = {symptom.about: symptom for symptom in found}
    assert len(told) == len(found)
    assert told.pop("retention").grade is Grade.WARNING
    return told


def serve(bench: Bench, *modules: str) -> None:
    """A dispatcher on another host beats once."""
    owner = Owner(id=OWNER, scope="there", host="there", pid=1, modules=modules)
    bench.do(lambda stores: stores.ledger.beat(owner))


def sql(bench: Bench, statement: str) -> None:
    connection = sqlite3.connect(bench.store / "ion.db")
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()


def test_a_store_at_rest_is_fine(bench: Bench) -> None:
    """Every port answers, clocks agree, nothing waits; that nothing is ever deleted is worth a word."""
    symptoms = examined(bench)
    assert [symptom.about for symptom in symptoms] == [
        *("ledger", "documents", "bus", "blobs", "clocks", "dispatchers", "modules", "waiting", "unreleased"),
        *("dead letters", "disk", "retention"),
    ]
    assert amiss(bench) == {}
    assert all(symptom.command for symptom in symptoms if symptom.grade is not Grade.FINE)


def test_open_jobs_without_a_dispatcher_are_a_fault(bench: Bench) -> None:
    """Nothing is done about them before somebody serves the store."""
    bench.photo()
    found = amiss(bench)
    assert set(found) == {"dispatchers"}
    assert found["dispatchers"].message == "1 job open, and no dispatcher is at work"
    assert (found["dispatchers"].grade, found["dispatchers"].command) == (Grade.FAULT, "ion up ion.yaml")
    serve(bench, "detect", "count")
    assert amiss(bench) == {}


def test_a_dispatcher_that_died_on_this_host_is_none(bench: Bench) -> None:
    """Its row is still there, and the lock that it held is free."""
    bench.photo()
    lock = str(bench.folder / "lock")
    owner = Owner(id="dead", scope="here", host=this_host(), pid=1, lock=lock, modules=("detect",))
    bench.do(lambda stores: stores.ledger.beat(owner))
    assert set(amiss(bench)) == {"dispatchers"}


def test_a_module_that_nobody_serves_is_a_fault(bench: Bench) -> None:
    """Its jobs wait although dispatchers are at work."""
    bench.photo()
    serve(bench, "count")
    found = amiss(bench)["modules"]
    assert found.message.startswith(
        "jobs of detect wait for the provider local, and no dispatcher there serves it; 1 job waiting, the oldest for "
    )
    assert found.message.endswith(
        ": start a dispatcher there (`ion up`), or change the provider or the rules of its module and apply them"
    )
    assert (found.grade, found.command) == (Grade.FAULT, "ion module describe -n detect")


def test_a_paused_module_is_a_warning(bench: Bench) -> None:
    """A person wanted it; the next command ends it."""
    bench.do(lambda stores: stores.ledger.pause_module("detect", paused=True, actor="test"))
    found = amiss(bench)["modules"]
    assert found.message == "detect is paused: none of its jobs is started"
    assert (found.grade, found.command) == (Grade.WARNING, "ion module resume -n detect")


def test_a_tripped_module_is_a_fault(bench: Bench) -> None:
    """Its breaker is open after so many dead jobs in a row."""
    (detect, _) = MODULES
    bench.apply(msgspec.structs.replace(detect, pause_after=2))
    for _ in range(2):
        bench.photo()
        bench.fail("detect")
    found = amiss(bench)
    assert found["modules"].message.startswith("detect is stopped after 2 dead jobs in a row, the last ")
    assert (found["modules"].grade, found["modules"].command) == (Grade.FAULT, "ion dlq list --module detect")
    assert found["dead letters"].message == "2 jobs of detect died within the last day"
    assert found["dead letters"].command == "ion dlq list --module detect --since 1d"


def test_dead_letters_of_long_ago_are_no_news(bench: Bench) -> None:
    """They are counted, and that is all."""
    bench.photo()
    bench.fail("detect")
    assert set(amiss(bench)) == {"dead letters"}
    sql(bench, "UPDATE jobs SET ended_at = ended_at - 90000 WHERE state = 'dead'")
    assert amiss(bench) == {}


def test_jobs_that_wait_long_are_a_warning(bench: Bench) -> None:
    """The oldest job of a module that goes on has been waiting for an hour."""
    bench.photo()
    serve(bench, "detect")
    sql(bench, f"UPDATE jobs SET admitted_at = {HOUR_AGO} WHERE state = 'waiting'")
    found = amiss(bench)["waiting"]
    assert found.message.startswith("1 job of detect waiting, the oldest for 1 h")
    assert (found.grade, found.command) == (Grade.WARNING, "ion job list --module detect --state waiting")


def test_events_that_are_not_released_are_a_fault_in_time(bench: Bench) -> None:
    """A job whose results are decided is to be released within moments."""
    root = RootEvent(type="photo")
    bench.do(lambda s: raise_event(root, gateway="cli", ledger=s.ledger, blobs=s.blobs))
    serve(bench, "detect")
    assert amiss(bench) == {}
    (job,) = bench.jobs("cli")
    for age_s, grade in ((120, Grade.WARNING), (3600, Grade.FAULT)):
        sql(bench, f"UPDATE jobs SET ended_at = strftime('%s', 'now') - {age_s}")
        found = amiss(bench)["unreleased"]
        assert found.message.startswith("the events of 1 job are not released, the oldest for ")
        assert (found.grade, found.command) == (grade, f"ion job show {job.id}")


def test_a_paused_flow_with_jobs_is_a_warning(bench: Bench) -> None:
    """Its id is whatever a client chose, so it is quoted in what is to be typed."""
    event = bench.photo("Anna's album; reboot")
    serve(bench, "detect")
    bench.do(lambda stores: stores.ledger.control(event.correlation_id, Control.PAUSED, "test"))
    found = amiss(bench)["flows"]
    assert found.message == "flow Anna's album; reboot is paused with 1 job waiting"
    assert (found.grade, found.command) == (Grade.WARNING, """ion flow resume 'Anna'"'"'s album; reboot'""")


def test_jobs_that_a_guard_holds_are_a_warning(bench: Bench) -> None:
    """A person has to free them, one of which is named."""
    event = bench.photo()
    serve(bench, "detect", "count")
    held = Job(id=job_id(event.id, "count"), module="count", event=event, hold=Hold.HOPS)
    bench.do(lambda stores: stores.ledger.admit([held]))
    found = amiss(bench)["holds"]
    assert found.message.startswith("1 job held by the guard max_hops")
    assert (found.grade, found.command) == (Grade.WARNING, f"ion job retry {held.id}")


@pytest.mark.parametrize(
    ("apart_s", "grade", "words"),
    [
        (0.0, Grade.FINE, "agree to 0.0 s"),
        (-1.9, Grade.FINE, "agree to 1.9 s"),
        (2.1, Grade.WARNING, "2.10 s ahead of this host's"),
        (-30.0, Grade.WARNING, "30.0 s behind this host's"),
        (61.0, Grade.FAULT, "1 min 1 s ahead of this host's"),
        (-7200.0, Grade.FAULT, "2 h 0 min behind this host's"),
    ],
)
def test_clocks_may_differ_a_little(apart_s: float, grade: Grade, words: str) -> None:
    """Two seconds are nothing, up to a minute is odd, more is a fault."""
    symptom = compare_clocks(NOON + timedelta(seconds=apart_s), NOON)
    assert symptom.grade is grade
    assert words in symptom.message


def test_a_ledger_that_answers_late_has_no_wrong_clock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it has looked at its clock meanwhile."""
    for theirs_s in (0.0, 60.0):
        ours = iter((NOON, NOON + timedelta(seconds=60.0)))
        monkeypatch.setattr("ion.management.local.doctor.utc_now", lambda ours=ours: next(ours))
        monkeypatch.setattr(Database, "now", lambda _, at=theirs_s: (NOON + timedelta(seconds=at)).timestamp())
        assert {one.grade for one in examined(bench) if one.about == "clocks"} == {Grade.FINE}


@pytest.mark.parametrize(("free", "grade"), [(500, Grade.FINE), (99, Grade.WARNING), (49, Grade.FAULT)])
def test_room_gets_short_before_it_is_gone(tmp_path: Path, free: int, grade: Grade) -> None:
    """Below a tenth it is worth a word; below a twentieth no job is started."""
    (symptom,) = room(tmp_path / "not yet" / "work", lambda _: (1000, 1000 - free, free))
    assert symptom.grade is grade
    assert list(room(None, lambda _: (1000, 0, 1000))) == []


async def test_a_server_that_is_gone_is_told(mortal: PostgresServer, tmp_path: Path) -> None:
    """Ledger and documents do not answer, blobs do; what the ledger would have told is left out."""
    async with Postgres(mortal.settings()) as database, FilesystemBlobs(tmp_path / "blobs", links=False) as blobs:
        ledger = PostgresLedger(database)
        stores = Stores(
            ledger=ledger,
            documents=PostgresDocuments(database),
            blobs=blobs,
            bus=NoBus(ledger.guarantees.store, durable=True),
            handler=JobHandler(blobs, host="here"),
        )
        retention = Retention(logs_s=3600.0)
        management = LocalManagement(stores, actor="test", work=None, retention=retention, place="here")
        before = [(one.about, one.grade) async for one in management.server.doctor()]
        assert before[0] == ("ledger", Grade.FINE)
        assert {grade for _, grade in before} == {Grade.FINE}
        mortal.crash()
        after = {one.about: one async for one in management.server.doctor()}
    assert [(about, one.grade) for about, one in after.items()] == [
        ("ledger", Grade.FAULT),
        ("documents", Grade.FAULT),
        ("bus", Grade.FINE),
        ("blobs", Grade.FINE),
        ("retention", Grade.FINE),
    ]
    assert str(mortal.port) in after["ledger"].message
