"""Claims: due jobs become running attempts, as far as there is room for them, and no further."""

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.breaker import PROBE_S
from ion.dispatcher.claim import LOOK_AGAIN_S, LOW_DISK, Claims, Running
from ion.dispatcher.slots import Slots
from ion.model.job import FailureClass, Job, State
from ion.model.module import Resources, Retries
from ion.ports.executor import Executor, Phase, Status
from ion.ports.ledger import Bury, JobFilter, Owner, Retry
from ion.testing.conformance.ledger_stage import failure, waiting_job
from ion.testing.local import open_local

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench


class Hand:
    """One dispatcher's claims on a machine of four cores, of which nothing ever ends."""

    def __init__(self, bench: "Bench", *, spare: float = 1.0, executor: Executor | None = None) -> None:
        self.bench, self.spare = bench, spare
        executor = executor or bench.executor
        self.running = Running()
        self.slots = Slots(executor.capacity)
        self.started: list[Job] = []
        self.failed: list[Status] = []
        self.claims = Claims(
            bench.ledger,
            {"local": executor},
            self.running,
            {"local": self.slots},
            owner="one",
            spare=lambda: self.spare,
            started=self.started.append,
            failed=self._fail,
        )

    def _fail(self, status: Status, executor: Executor) -> None:
        self.failed.append(status)

    async def round(self, *owners: Owner) -> float:
        """Reads the registry, and claims once around."""
        self.claims.know(await self.bench.ledger.modules(), owners)
        return await self.claims.round()

    async def end(self, job: Job) -> None:
        """An attempt is settled."""
        assert await self.bench.ledger.settle(job.id, job.attempt, "one", Bury(failure=failure()))
        self.running.drop(self.bench.handle(job))
        self.slots.give(job.id, job.attempt)

    def count(self) -> Counter[str]:
        """How many attempts of each module were started."""
        return Counter(job.module for job in self.started)


async def admit(bench: "Bench", number: int, module: str = "detect") -> list[Job]:
    jobs = [waiting_job(flow="flow", module=module) for _ in range(number)]
    await bench.ledger.admit(jobs)
    return jobs


def other(name: str, *modules: str) -> Owner:
    return Owner(id=name, scope="elsewhere", host="elsewhere", pid=1, modules=modules)


async def test_a_due_job_is_claimed_and_submitted(bench: "Bench") -> None:
    """It runs in the ledger and in the executor, with its revision fixed."""
    module = await bench.module("detect", "sleep 1000")
    (job,) = await admit(bench, 1)
    hand = Hand(bench)
    await hand.round()
    claimed = await bench.ledger.get(job.id)
    assert (claimed.state, claimed.owner, claimed.attempt) == (State.RUNNING, "one", 1)
    assert (await bench.ledger.revision("detect", claimed.revision)).module == module
    assert hand.started == [claimed]
    assert not (await bench.executor.state(bench.handle(claimed))).final


async def test_its_deadline_leaves_time_for_everything_that_an_attempt_may_take(bench: "Bench") -> None:
    """Starting, running, ending and committing: the ledger's deadline stands behind the executor's own."""
    await bench.module("detect", timeout_s=100.0, start_timeout_s=20.0, grace_s=3.0)
    await admit(bench, 1)
    hand = Hand(bench)
    await hand.round()
    (job,) = hand.started
    assert job.deadline is not None
    assert job.deadline.timestamp() - bench.clock() > 100.0 + 20.0 + 3.0


async def test_only_what_has_a_slot_is_claimed(bench: "Bench") -> None:
    """The concurrency of the module and the room of the machine both bound it; a second look finds no room."""
    await bench.module("detect", concurrency=3)
    await bench.module("count", on="face", concurrency=3)
    await admit(bench, 9)
    await admit(bench, 9, "count")
    hand = Hand(bench)
    for _ in range(3):
        await hand.round()
    assert sorted(hand.count().values()) == [1, 3]
    assert len(await bench.ledger.running("one")) == 4


async def test_room_that_becomes_free_is_used(bench: "Bench") -> None:
    """One that ends makes way for the next."""
    await bench.module("detect", concurrency=1)
    await admit(bench, 3)
    hand = Hand(bench)
    for _ in range(2):
        await hand.round()
    assert hand.count() == {"detect": 1}
    await hand.end(hand.started[0])
    await hand.round()
    assert hand.count() == {"detect": 2}


async def test_a_busy_module_does_not_keep_the_others_from_the_machine(bench: "Bench") -> None:
    """Each round begins with another one, so each gets its first place on a machine for one."""
    needs = Resources(cpu=4.0)
    await bench.module("detect", resources=needs)
    await bench.module("count", on="face", resources=needs)
    for module in ("detect", "count"):
        await admit(bench, 9, module)
    hand = Hand(bench)
    for _ in range(4):
        await hand.round()
        await hand.end(hand.started[-1])
    assert hand.count() == {"detect": 2, "count": 2}


async def test_the_concurrency_is_divided_among_those_that_serve_the_module(bench: "Bench") -> None:
    """Dispatchers that do not serve it take no share of it."""
    await bench.module("detect", concurrency=4)
    await admit(bench, 9)
    hand = Hand(bench)
    await hand.round(other("one", "detect"), other("two", "detect", "count"), other("three", "count"))
    assert hand.count() == {"detect": 2}


async def test_what_others_run_beyond_their_share_is_waited_for(bench: "Bench") -> None:
    """One that has just come has half of the concurrency, while the elder runs all of it still."""
    await bench.module("detect", concurrency=2)
    await admit(bench, 9)
    elder, _ = [await bench.claimed(owner="two") for _ in range(2)]
    hand = Hand(bench)
    sharers = other("one", "detect"), other("two", "detect")
    await hand.round(*sharers)
    assert hand.count() == {}
    await bench.ledger.settle(elder.id, elder.attempt, "two", Bury(failure=failure()))
    await hand.round(*sharers)
    assert hand.count() == {"detect": 1}


async def test_without_enough_devices_nothing_of_a_gpu_module_is_claimed(bench: "Bench") -> None:
    """The module is held with one sentence, and the others go on."""
    await bench.module("detect", resources=Resources(gpu=1))
    await admit(bench, 1)
    await admit(bench, 1, "count")
    hand = Hand(bench)
    await hand.round()
    assert hand.count() == {"count": 1}


async def test_below_a_twentieth_of_free_disk_nothing_is_claimed(
    bench: "Bench", caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, not at every look, and goes on when there is room again."""
    await admit(bench, 1)
    hand = Hand(bench, spare=LOW_DISK - 0.01)
    for _ in range(3):
        assert await hand.round() == LOOK_AGAIN_S
    assert hand.count() == {}
    assert caplog.text.count("of the disk is free") == 1
    hand.spare = LOW_DISK
    await hand.round()
    assert hand.count() == {"detect": 1}


async def test_a_missing_secret_holds_the_module(bench: "Bench", caplog: pytest.LogCaptureFixture) -> None:
    """No attempt is made and nothing is burnt; one sentence names the secret."""
    await bench.module("detect", secrets={"API_KEY": "vision-key"})
    (job,) = await admit(bench, 1)
    hand = Hand(bench)
    for _ in range(2):
        await hand.round()
    assert (await bench.ledger.get(job.id)).attempt == 0
    assert caplog.text.count("vision-key") == 1
    await bench.module("detect")
    await hand.round()
    assert hand.count() == {"detect": 1}


async def test_a_paused_module_is_not_claimed(bench: "Bench") -> None:
    """Until a person starts it again."""
    await admit(bench, 1)
    await bench.ledger.pause_module("detect", paused=True, actor="test")
    hand = Hand(bench)
    await hand.round()
    assert hand.count() == {}
    await bench.ledger.pause_module("detect", paused=False, actor="test")
    await hand.round()
    assert hand.count() == {"detect": 1}


async def test_a_module_of_another_provider_is_left_to_others(bench: "Bench") -> None:
    """This dispatcher has no executor for it."""
    await bench.module("detect", provider="kubernetes")
    await admit(bench, 1)
    hand = Hand(bench)
    await hand.round()
    assert hand.count() == {}


async def test_an_open_breaker_lets_one_probe_try_once_it_is_due(bench: "Bench") -> None:
    """The rest waits unburnt, and the ledger bounds the probes of all dispatchers to one."""
    await bench.module("detect", pause_after=2)
    for _ in range(2):
        job = await bench.running()
        await bench.ledger.settle(job.id, job.attempt, "one", Bury(failure=failure()))
    await admit(bench, 3)
    hand, second = Hand(bench), Hand(bench)
    assert await hand.round() == PROBE_S
    assert hand.count() == {}
    assert hand.claims.tripped
    bench.clock.advance(PROBE_S)
    for either in (hand, second, hand):
        await either.round()
    assert hand.count() + second.count() == {"detect": 1}
    waiting = (await bench.ledger.query(JobFilter(module="detect", states=(State.WAITING,)))).jobs
    assert [job.attempt for job in waiting] == [0, 0]


async def test_an_attempt_that_cannot_be_started_has_failed_for_infrastructure(bench: "Bench") -> None:
    """It is handed on to be settled, so that it burns none of the module's tries."""
    await admit(bench, 1)
    async with open_local(bench.folder / "closed") as closed:
        hand = Hand(bench, executor=closed)
    await hand.round()
    assert hand.started == []
    (status,) = hand.failed
    assert status.phase is Phase.FAILED
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE


async def delayed(bench: "Bench", delay_s: float) -> None:
    """A job of `detect` that waits for its next attempt."""
    job = await bench.running()
    await bench.ledger.settle(job.id, job.attempt, "one", Retry(failure=failure(), delay_s=delay_s))


async def test_it_looks_again_when_the_next_job_is_due(bench: "Bench") -> None:
    """Not before, and not only at its next round by habit."""
    await delayed(bench, 3.0)
    hand = Hand(bench)
    assert await hand.round() == pytest.approx(3.0)
    assert hand.count() == {}
    bench.clock.advance(3.0)
    await hand.round()
    assert hand.count() == {"detect": 1}


async def test_it_looks_again_when_the_next_job_is_due_though_it_claimed_another(bench: "Bench") -> None:
    """The one that is claimed says nothing about the one that waits for its back-off."""
    await delayed(bench, 3.0)
    await admit(bench, 1)
    hand = Hand(bench)
    again_s = await hand.round()
    assert hand.count() == {"detect": 1}
    assert (again_s or await hand.round()) == pytest.approx(3.0)


async def test_what_waits_for_a_time_that_cannot_be_true_is_claimed(bench: "Bench") -> None:
    """The ledger's clock was set back since its back-off began; a shorter wait is kept."""
    await bench.module("detect", retries=Retries(backoff_most_s=5.0))
    await delayed(bench, 3.0)
    hand = Hand(bench)
    bench.clock.advance(-1.0)
    assert await hand.round() == pytest.approx(4.0)
    bench.clock.advance(-24 * 3600.0)
    await hand.round()
    assert hand.count() == {"detect": 1}
