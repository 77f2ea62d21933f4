"""Verbs on the whole of an Ion, on a real store: what it is, how everything alive stands, what takes up room."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from tests.cli.conftest import MODULES, OWNER, SCOPE, Bench

from ion import __version__
from ion.errors import InvalidError
from ion.management.audit import Finding
from ion.management.collect import Collected
from ion.management.needed import Part
from ion.management.usage import By
from ion.management.verbs import ServerVerbs
from ion.model.job import State
from ion.ports.ledger import Entry, Owner
from ion.wiring import open_management

T = TypeVar("T")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One job of `detect` was released and one waits; `count` is dead."""
    bench = Bench(tmp_path)
    bench.apply(*MODULES)
    bench.photo()
    bench.succeed("detect", out={"data/a": "12345", "events/face.json": '{"type": "face"}'})
    bench.fail("count")
    bench.photo()
    return bench


def asked(bench: Bench, work: Callable[[ServerVerbs], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_management(bench.store) as management:
            return await work(management.server)

    return asyncio.run(run())


def test_information_names_what_it_is_made_of(bench: Bench) -> None:
    """The kinds of the ports as a pipeline file writes them, the place and the caller."""
    told = asked(bench, lambda server: server.info())
    assert (told.version, told.place) == (__version__, str(bench.store))
    assert (told.ledger, told.documents, told.bus, told.blobs) == ("sqlite", "sqlite", "sqlite", "filesystem")
    assert told.actor


def test_an_overview_has_every_module_and_dispatcher(bench: Bench) -> None:
    """Counts of what is open or dead, who serves what, and how each module fares."""
    bench.do(lambda s: s.ledger.beat(Owner(id=OWNER, scope=SCOPE, host="h", pid=1, modules=("count",))))
    told = asked(bench, lambda server: server.overview())
    count, detect = told.modules
    assert (count.registered.module.name, count.jobs, count.oldest_s) == ("count", {State.DEAD: 1}, None)
    assert (count.served_by, count.standing) == ((OWNER,), "ready")
    assert (detect.jobs, detect.served_by, detect.standing) == ({State.WAITING: 1}, (), "unserved")
    assert detect.oldest_s is not None
    assert [one.id for one in told.dispatchers] == [OWNER]
    assert (told.open, told.unreleased, told.oldest_unreleased_s, told.dead) == (1, 0, None, 1)


def test_what_is_committed_is_counted_with_its_age(bench: Bench) -> None:
    """A running job that commits is open until it is released."""
    bench.claim("detect")
    told = asked(bench, lambda server: server.overview())
    assert (told.open, told.modules[1].jobs) == (1, {State.RUNNING: 1})


def test_usage_audit_and_collecting_are_those_of_the_store(bench: Bench) -> None:
    """They give what the use-cases give, in the verbs' structs."""
    rows = {row.key: row for row in asked(bench, lambda server: server.usage(by=By.MODULE))}
    assert rows["detect"].bytes[Part.FILES.value] == 5
    assert asked(bench, lambda server: server.collect(dry=True)) == Collected()

    async def findings(server: ServerVerbs) -> list[Finding]:
        return [one async for one in server.audit()]

    assert asked(bench, findings) == []


def test_the_trail_is_the_ledgers(bench: Bench) -> None:
    """The last entries, the newest last; how many is bounded."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for verb in ("modules.pause", "flows.control"):
        entry = Entry(at=at, actor="anna", verb=verb)
        bench.do(lambda stores, entry=entry: stores.ledger.note(entry))  # type: ignore[misc]

    def trail(most: int) -> list[str]:
        async def work(server: ServerVerbs) -> list[str]:
            return [entry.verb async for entry in server.trail(most=most)]

        return asked(bench, work)

    assert trail(1) == ["flows.control"]
    assert trail(5)[-2:] == ["modules.pause", "flows.control"]
    with pytest.raises(InvalidError, match="the entries of the trail must be from 1"):
        trail(0)
