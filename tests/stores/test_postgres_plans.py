"""No statement of the PostgreSQL ledger or documents looks at more rows as the tables grow: at 1,000,000 jobs and
250,000 records each verb is run once, and the server tells the plan of every statement in it, with the rows it looked
at.

`pytest -s tests/stores/test_postgres_plans.py` shows all plans.
"""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from tests.stores.postgres_rows import fill
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.documents.postgres import PostgresDocuments
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.model import ids
from ion.model.job import FailureClass, Job, State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.ledger import Bury, Control, Entry, GiveBack, JobFilter, Move, Owner, Retry
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import EPOCH, SetClock, claim, failure, manifest, revision, waiting_job

ROWS = 1_000_000
MOST_ROWS = 4_000
"""What one step of a plan may look at: the steps of a listing are 2,000 rows, and a flow here has 1,000 jobs."""
EXPLAINED = """
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_timing = off
auto_explain.log_format = json
"""


class Plan(NamedTuple):
    """A statement and the steps of its plan, from the outermost inwards."""

    statement: str
    steps: Sequence[tuple[int, dict[str, Any]]]

    def __str__(self) -> str:
        lines = [" ".join(self.statement.split())[:300]]
        for depth, step in self.steps:
            name = " ".join(str(step[key]) for key in ("Node Type", "Index Name", "Relation Name") if key in step)
            lines.append(f"{'  ' * (depth + 1)}{name}: {looked_at(step)} rows")
        return "\n".join(lines)


def looked_at(step: dict[str, Any]) -> int:
    """How many rows a step read, those that it threw away included."""
    removed = step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
    return int((step["Actual Rows"] + removed) * step["Actual Loops"])


def plans(log: str) -> Iterator[Plan]:
    """The plans in a server's log, where each stands in lines that begin with a tab."""
    for part in log.split("  plan:\n")[1:]:
        lines = []
        for line in part.splitlines():
            if not line.startswith("\t"):
                break
            lines.append(line[1:])
        told = json.loads("\n".join(lines))
        yield Plan(told["Query Text"], list(_steps(told["Plan"], 0)))


def _steps(step: dict[str, Any], depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
    yield depth, step
    for inner in step.get("Plans", ()):
        yield from _steps(inner, depth + 1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server(EXPLAINED) as server:
        yield server


@pytest.fixture
async def filled(server: PostgresServer) -> AsyncIterator[tuple[Postgres, SetClock]]:
    settings, clock = server.settings(), SetClock()
    async with Postgres(settings):
        pass
    fill(server, settings.schema, ROWS, records=ROWS // 4)
    async with Postgres(settings, clock=clock) as database:
        yield database, clock


async def test_no_statement_looks_at_more_as_tables_grow(
    server: PostgresServer, filled: tuple[Postgres, SetClock]
) -> None:
    """Each step of each plan reads a bounded number of rows by an index, and sorts no more than a page."""
    database, clock = filled
    before = server.log.stat().st_size
    ledger = PostgresLedger(database)
    used = await _admission(ledger) | await _routing(ledger)
    used |= await _lives(ledger, clock) | await _people(ledger) | await _reading(ledger)
    used |= await _keeping(ledger)
    used |= await _documents(PostgresDocuments(database))
    with server.log.open() as log:
        log.seek(before)
        shown = {str(plan): plan for plan in plans(log.read())}
    for text in sorted(shown):
        print(text, end="\n\n")
    missing = [verb for verb in used if not any(verb in plan.statement for plan in shown.values())]
    assert missing == []
    assert [text for text, plan in shown.items() if _grows(plan)] == []


def _grows(plan: Plan) -> bool:
    return any(
        looked_at(step) > MOST_ROWS or (step["Node Type"] == "Seq Scan" and step["Relation Name"] in LARGE)
        for _, step in plan.steps
    )


LARGE = {"jobs", "records", "tallies", "flows", "turns", "devices"}


async def _admission(ledger: PostgresLedger) -> set[str]:
    await ledger.apply([revision(f"m{n}", "photo") for n in range(7)], "me")
    assert await ledger.admit([waiting_job(flow="flow-5", module="m1") for _ in range(20)])
    return {"INSERT INTO jobs", "INSERT INTO tallies", "INSERT INTO modules"}


async def _routing(ledger: PostgresLedger) -> set[str]:
    """Jobs of one module on many routes, beside a line of thousands on one."""
    assert await ledger.routes("m6", 300.0) == {""}
    jobs = await ledger.on_route("m6", "", 500, 300.0)
    assert len(jobs) == 500
    moves = [Move(job=job.id, old="", new=f"kubernetes!{n % 20}@12345678") for n, job in enumerate(jobs)]
    assert await ledger.reroute(moves, "one") == 500
    routes = await ledger.routes("m6", 300.0)
    assert len(routes) == 21
    assert (
        len(await ledger.claim(claim(30, module="m6", routes=tuple(sorted(routes))[1:3], route="kubernetes!0"))) == 30
    )
    return {"unnest(_routes)", "jsonb_to_recordset", "routes_of", "FROM leap"}


async def _lives(ledger: PostgresLedger, clock: SetClock) -> set[str]:
    await ledger.beat(Owner(id="one", scope="here", host="host", pid=1))
    first, second, third = await ledger.claim(claim(3, module="m1", module_most=9_999, delay_most_s=1e9))
    (fourth,) = await ledger.claim(claim(1, module="m2", gpus_each=1, devices=("0", "1")))
    clock.advance(10)
    assert await ledger.claim(claim(5, module="m3"))
    assert await ledger.retime(first.id, 1, "one", 3)
    assert await ledger.commit(first.id, 1, manifest())
    assert await ledger.settle(second.id, 1, "one", Retry(failure=failure(FailureClass.INFRASTRUCTURE), delay_s=5))
    assert await ledger.settle(third.id, 1, "one", Bury(failure=failure()))
    assert await ledger.settle(fourth.id, 1, "one", GiveBack(reason="stopping"))
    assert await ledger.advance(first.id, "one", 1)
    assert await ledger.defer(first.id, "one", 1, "away")
    clock.advance(5)
    assert await ledger.unreleased(50, "one")
    assert await ledger.released(first.id, "one")
    assert await ledger.running("one")
    clock.advance(3600)
    assert len(await ledger.overdue(100)) == 100
    assert await ledger.adopt(["owner-1"], "one")
    await ledger.retire("one")
    return {
        "UPDATE jobs SET state = 'running'",
        "UPDATE jobs SET ready",
        "SKIP LOCKED",
        "deadline <=",
        "DELETE FROM owners",
    }


async def _people(ledger: PostgresLedger) -> set[str]:
    dead = (await ledger.query(JobFilter(states=(State.DEAD,)), most=1)).jobs[0]
    assert await ledger.requeue(dead.id, "me")
    assert await ledger.cancel(dead.id, "me")
    await ledger.prioritise("flow-7", 4)
    for control in (Control.PAUSED, Control.NONE, Control.CANCELLED):
        await ledger.control("flow-7", control, "me")
    await ledger.pause_module("m1", paused=True, actor="me")
    await ledger.remove("m2", "me")
    (late,) = (await ledger.query(JobFilter(states=(State.WAITING,), module="m2"), most=1)).jobs
    assert await ledger.bury(late.id, failure(), "me")
    return {"UPDATE jobs SET priority", "UPDATE jobs SET hold", "UPDATE flows", "DELETE FROM modules"}


async def _reading(ledger: PostgresLedger) -> set[str]:
    assert set(await ledger.waiting()) == {f"m{n}" for n in range(7)}
    assert (await ledger.open("flow-3")).total
    assert await ledger.tally("flow-3")
    assert (await ledger.flow("flow-3")).jobs == 1000
    async for _ in ledger.flows():
        break
    page = (await ledger.query(JobFilter(), most=100)).jobs
    job = await ledger.get(page[-1].id)
    filters = (
        JobFilter(id_prefix=job.id[:8]),
        JobFilter(event_id=job.event.id),
        JobFilter(correlation_id="flow-3", states=(State.RELEASED,), module="m3"),
        JobFilter(states=(State.RUNNING, State.COMMITTED, State.RELEASED)),
        JobFilter(owner="nobody's", states=(State.EXPIRED,)),
        JobFilter(owner="nobody's"),
    )
    for which in filters:
        await ledger.query(which)
    for module in ("m3", "m4"):
        assert (await ledger.load(module, 1000)).jobs
    assert [past.revision async for past in ledger.revisions("m3")]
    await ledger.note(Entry(at=EPOCH, actor="me", verb="modules.apply"))
    assert [entry async for entry in ledger.trail(EPOCH, 1000)]
    assert await ledger.subscribers("photo")
    assert await ledger.revision("m1", revision("m1", "photo").id)
    return {"WITH candidates AS MATERIALIZED", "WITH RECURSIVE", "FROM tallies WHERE flow", "FROM flows WHERE seq <"}


async def _keeping(ledger: PostgresLedger) -> set[str]:
    released = (await ledger.query(JobFilter(states=(State.RELEASED,), module="m3"), most=1)).jobs[0]
    key = ids.job_id("event of its own", "m3")
    again = Job(id=key, module="m3", event=released.event, run=released.run + 1)
    assert await ledger.rerun(again, [released.id], "me")
    assert await ledger.supersede(released.id, again.id)
    for job in await ledger.claim(claim(1_000, module="m3")):
        await ledger.settle(job.id, job.attempt, "one", Bury(failure=failure()))
    (alone,) = [waiting_job(flow="alone", state=State.DEAD, failure=failure())]
    await ledger.admit([alone])
    assert await ledger.expire(alone.id, "gc")
    assert await ledger.drop_log(alone.id, "gc")
    assert await ledger.strip(alone.id)
    assert await ledger.forget("alone", 10) == 1
    assert await ledger.forget("flow-9", 10) == 10
    return {"UPDATE jobs SET state = 'superseded'", "UPDATE jobs SET log = ''", "DELETE FROM jobs"}


async def _documents(documents: PostgresDocuments) -> set[str]:
    await documents.put([record("new"), record("newer")])
    assert await documents.get(Kind.INSIGHT, "record-77")
    filters = (
        RecordFilter(correlation_id="flow-3"),
        RecordFilter(correlation_id="flow-3", kind=Kind.MODULE_LOGS, name="m3"),
        RecordFilter(event_id=ids.new_id()),
        RecordFilter(name="m3", correlation_id="flow-3"),
    )
    for which in filters:
        async for one in documents.query(which):
            assert one.context.correlation_id == "flow-3"
    for which in (RecordFilter(), RecordFilter(kind=Kind.MODULE_LOGS), RecordFilter(name="m3")):
        async for _ in documents.query(which):
            break
    assert await documents.delete(Kind.EVENT_META, ["new", "newer"]) == 2
    return {"INSERT INTO records", "FROM records WHERE", "DELETE FROM records"}
