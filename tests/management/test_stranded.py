"""Jobs that their rules sent where nobody serves them: the doctor and `ion job why` say so, and what to do."""

from pathlib import Path

import msgspec
import pytest
from tests.cli.conftest import MODULES, OWNER, Bench
from tests.management.test_doctor import HOUR_AGO, amiss, sql

from ion.dispatcher.routing import Routing
from ion.dispatcher.stores import Stores
from ion.management.verbs.server import Grade
from ion.model.module import Rule
from ion.ports.ledger import Owner

ELSEWHERE = Rule(filters=({"exact": {"data.kind": "cat"}},), provider="kubernetes")
MEND = "start a dispatcher there (`ion up`), or change the provider or the rules of its module and apply them"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    detect, count = MODULES
    bench.apply(msgspec.structs.replace(detect, image="i", route=(ELSEWHERE,)), count)
    return bench


def serve(bench: Bench, *places: str, modules: tuple[str, ...] = ("detect", "count"), name: str = OWNER) -> None:
    """A dispatcher on another host beats once, and routes what is due."""
    owner = Owner(id=name, scope="there", host="there", pid=1, modules=modules, places=places)

    async def work(stores: Stores) -> None:
        await stores.ledger.beat(owner)
        for registered in await stores.ledger.modules():
            await Routing(stores.ledger, owner=name).look(registered)

    bench.do(work)


def long_ago(bench: Bench) -> None:
    """What waits was admitted an hour ago."""
    at = f"strftime('%Y-%m-%dT%H:%M:%SZ', {HOUR_AGO}, 'unixepoch')"
    sql(bench, f"UPDATE jobs SET history = json_set(history, '$[0].at', {at}) WHERE state = 'waiting'")


def test_the_doctor_names_the_provider_that_nobody_serves(bench: Bench) -> None:
    """How many jobs of which module, for how long, and what to type next; once somebody comes it is fine."""
    for _ in range(2):
        bench.photo()
    serve(bench, "detect@local")
    long_ago(bench)
    found = amiss(bench)
    assert set(found) == {"places"}
    assert found["places"].message == (
        "2 jobs of detect waiting for the provider kubernetes, where its rules sent them, the oldest for 1 h 0 min, "
        f"and no dispatcher there serves it: {MEND}"
    )
    assert (found["places"].grade, found["places"].command) == (Grade.FAULT, "ion module describe -n detect")
    serve(bench, "detect@kubernetes", name="another")
    assert amiss(bench) == {}


def test_a_dispatcher_of_an_older_ion_may_have_the_provider(bench: Bench) -> None:
    """It does not say where it runs a module, so nobody is alarmed."""
    bench.photo()
    serve(bench, "detect@local")
    serve(bench, name="older")
    assert amiss(bench) == {}


def test_a_job_says_which_provider_it_waits_for(bench: Bench) -> None:
    """In a line of its own, and in the document; nothing is said of one that will have its turn."""
    bench.photo()
    serve(bench, "detect@local")
    long_ago(bench)
    (job,) = bench.jobs("detect")
    said = (
        "it is for the provider kubernetes, where the rules of detect sent it, and no dispatcher there serves that; it "
        f"has waited for 1 h 0 min: {MEND}"
    )
    assert f"  waits     {said}\n" in bench.ion("job", "why", job.id).stdout
    assert [cause["waits"] for cause in bench.json("job", "why", job.id, "--json")] == ["", said]
    serve(bench, "detect@kubernetes", name="another")
    assert "waits" not in bench.ion("job", "why", job.id).stdout


def test_a_job_of_a_module_that_nobody_serves_says_so(bench: Bench) -> None:
    """Of one without rules, and of one whose module a person has stopped."""
    bench.apply(MODULES[0])
    bench.photo()
    serve(bench, modules=("count",))
    long_ago(bench)
    (job,) = bench.jobs("detect")
    expected = (
        "jobs of detect wait for the provider local, and no dispatcher there serves it; it has waited for 1 h 0 min"
    )
    assert f"  waits     {expected}: {MEND}\n" in bench.ion("job", "why", job.id).stdout
    bench.ion("module", "pause", "-n", "detect")
    expected = "detect is paused: none of its jobs is started"
    assert f"  waits     {expected}\n" in bench.ion("job", "why", job.id).stdout
