"""What every adapter of `ion.ports.executor` must do; subclass it as `Test...` and say how to open one.

Its modules are lines for `sh`, which is in every image. Nothing here waits for a fixed time: progress comes by `watch`,
within `PATIENCE_S`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import msgspec
import pytest

from ion.errors import NotFoundError
from ion.messaging.codec import module_source
from ion.model.event import Event, FileRef, utc_now
from ion.model.ids import new_id
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Module, revise
from ion.ports.executor import Assignment, Executor, Handle, Phase, Status

PATIENCE_S = 300.0
"""Within this an executor must have told of a change; a cluster may have to pull an image first."""

WRITES_A_FILE = 'echo out > "$ION_DIR/out/data/a.txt"; echo said'
ENDS_LATER = 'echo begun; sleep 4; echo out > "$ION_DIR/out/data/a.txt"; echo said'
ENDS_LATE = ENDS_LATER.replace("sleep 4", "sleep 20")
"""After who looks for it has surely found it, on a busy machine too."""
WAITS = 'echo begun; trap "exit 0" TERM; while :; do sleep 0.1; done'


def root_event(*files: FileRef) -> Event:
    """An event that nothing came before."""
    identity = new_id()
    return Event(
        id=identity,
        type="begun",
        source=module_source("begin"),
        correlation_id=identity,
        parent_id="frontapi",
        time=utc_now(),
        files=files,
    )


def assignment(script: str, *, attempt: int = 1, event: Event | None = None, **module: Any) -> Assignment:
    """An attempt of a module that runs `script` in a shell."""
    happened = event or root_event()
    revision = revise(Module(**{"name": "probe", "command": ("sh", "-c", script), "grace_s": 5.0, **module}))
    row = Job(id=new_id(), module="probe", event=happened, attempt=attempt, revision=revision.id)
    return Assignment(job=row, revision=revision)


async def told(executor: Executor, handle: Handle, wanted: Callable[[Status], bool]) -> Status:
    """The first status of an attempt that is wanted, as `watch` tells it."""
    async with asyncio.timeout(PATIENCE_S), aclosing(executor.watch()) as batches:  # type: ignore[type-var] # an async generator, by the port a mere iterator
        async for batch in batches:
            for status in batch:
                if status.handle == handle and wanted(status):
                    return status
    raise AssertionError("the watch ended")


async def final(executor: Executor, handle: Handle) -> Status:
    """How an attempt ended."""
    return await told(executor, handle, lambda status: status.final)


async def logged(executor: Executor, handle: Handle, *, start: int = 0) -> bytes:
    """What an attempt has logged so far."""
    return b"".join([piece async for piece in executor.logs(handle, start=start)])


async def logs_line(executor: Executor, handle: Handle, line: bytes) -> None:
    """Waits until an attempt's log holds `line`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if line in await logged(executor, handle):
                    return
            except NotFoundError:  # it has not begun
                pass
            await asyncio.sleep(0.01)


class ExecutorConformance(ABC):
    @abstractmethod
    def open_executor(self) -> AbstractAsyncContextManager[Executor]:
        """Opens an executor on this test's place and blob store, with capacity for four attempts of nothing special."""

    @abstractmethod
    async def stored(self, path: str) -> bytes:
        """The content of a blob of this test's store. Raises NotFoundError."""

    @abstractmethod
    async def abandon(self, script: str) -> Assignment:
        """Submits an attempt in another process, and kills that with SIGKILL once the attempt has logged `begun`."""

    async def ended(self, work: Assignment) -> None:
        """Returns once an attempt that nobody follows has ended, where attempts outlive their dispatchers."""
        raise NotImplementedError(f"say how the end of {work.job.id} is known")

    def assignment(self, script: str, **more: Any) -> Assignment:
        """An attempt that this place can run."""
        return assignment(script, **more)

    async def test_a_good_attempt_succeeds_with_its_manifest(self) -> None:
        """The final status names the manifest; what the module wrote is stored by then, its log as well."""
        async with self.open_executor() as executor:
            status = await final(executor, await executor.submit(self.assignment(WRITES_A_FILE)))
            assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)
            assert status.manifest is not None
            assert status.manifest.files == 1
            assert b"said\n" in await self.stored(status.log)

    async def test_submitting_again_finds_the_same_attempt(self) -> None:
        """Twice, at once and after the end: there is one attempt, with one execution."""
        async with self.open_executor() as executor:
            work = self.assignment(WRITES_A_FILE)
            first, second = await asyncio.gather(executor.submit(work), executor.submit(work))
            before = await final(executor, first)
            assert await executor.submit(work) == first == second
            assert await final(executor, first) == before

    async def test_a_failed_attempt_tells_its_exit_code_and_keeps_its_log(self) -> None:
        """Any other exit code than 0 is the module's failure; nothing is committed, and the log is stored."""
        async with self.open_executor() as executor:
            status = await final(executor, await executor.submit(self.assignment("echo why; exit 3")))
            failure = Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)
            assert (status.phase, status.failure, status.manifest) == (Phase.FAILED, failure, None)
            assert b"why\n" in await self.stored(status.log)

    async def test_output_that_breaks_the_contract_is_a_contract_failure(self) -> None:
        """A module may exit with 0 and still have written nonsense: a retry would not help."""
        async with self.open_executor() as executor:
            script = 'echo nonsense > "$ION_DIR/out/events/e.json"; echo said'
            status = await final(executor, await executor.submit(self.assignment(script)))
            assert status.failure is not None
            assert status.failure.kind is FailureClass.CONTRACT
            assert "e.json" in status.failure.message
            assert b"said\n" in await self.stored(status.log)

    async def test_an_attempt_past_its_time_limit_is_ended(self) -> None:
        """The failure is a time-out, and says the limit."""
        async with self.open_executor() as executor:
            status = await final(executor, await executor.submit(self.assignment(WAITS, timeout_s=0.5)))
            assert status.failure is not None
            assert status.failure.kind is FailureClass.TIMEOUT
            assert "0.5 s" in status.failure.message

    async def test_a_cancelled_attempt_fails_as_it_was_told(self) -> None:
        """`cancel` ends the module and gives the failure; a module that then exits with 0 commits nothing."""
        async with self.open_executor() as executor:
            handle = await executor.submit(self.assignment(WAITS))
            await logs_line(executor, handle, b"begun")
            failure = Failure(kind=FailureClass.TIMEOUT, message="past its deadline")
            await executor.cancel(handle, failure)
            status = await final(executor, handle)
            assert (status.phase, status.failure, status.manifest) == (Phase.FAILED, failure, None)
            await executor.cancel(handle)
            assert await executor.state(handle) == status

    async def test_cancelling_right_after_submitting_ends_it_too(self) -> None:
        """At whatever step the attempt is, it fails and is told."""
        async with self.open_executor() as executor:
            handle = await executor.submit(self.assignment(WAITS))
            await executor.cancel(handle)
            status = await final(executor, handle)
            assert status.failure is not None
            assert status.failure.kind is FailureClass.LOST

    async def test_a_final_state_is_told_until_it_is_removed(self) -> None:
        """Also to a watcher that was told before; after `remove` the attempt is unknown."""
        async with self.open_executor() as executor:
            handle = await executor.submit(self.assignment("exit 1"))
            async with asyncio.timeout(PATIENCE_S), aclosing(executor.watch()) as batches:  # type: ignore[type-var] # see told
                times = 0
                async for batch in batches:
                    times += sum(status.final for status in batch)
                    if times == 2:
                        break
            await final(executor, handle)
            await executor.remove(handle)
            assert await executor.state(handle) == Status(handle=handle, phase=Phase.UNKNOWN)
            await executor.remove(handle)

    async def test_the_log_can_be_read_while_the_module_runs(self) -> None:
        """`logs` gives what there is, from a byte on, and NotFoundError for an attempt that it does not know."""
        async with self.open_executor() as executor:
            handle = await executor.submit(self.assignment(WAITS))
            await logs_line(executor, handle, b"begun\n")
            whole = await logged(executor, handle)
            assert await logged(executor, handle, start=len(whole) - 6) == b"begun\n"
            assert (await executor.state(handle)).phase is Phase.RUNNING
            with pytest.raises(NotFoundError):
                await logged(executor, msgspec.structs.replace(handle, attempt=9))

    async def test_attempts_run_beside_each_other(self) -> None:
        """One waits for the next, which could never end if they ran in turn."""
        async with self.open_executor() as executor:
            waiting = await executor.submit(self.assignment(WAITS))
            other = await executor.submit(self.assignment(WRITES_A_FILE))
            assert (await final(executor, other)).phase is Phase.SUCCEEDED
            assert not (await executor.state(waiting)).final

    async def test_removing_a_running_attempt_ends_it(self) -> None:
        """Nothing of a forgotten attempt goes on."""
        async with self.open_executor() as executor:
            handle = await executor.submit(self.assignment(WAITS))
            await logs_line(executor, handle, b"begun")
            await executor.remove(handle)
            assert (await executor.state(handle)).phase is Phase.UNKNOWN

    async def test_an_attempt_of_a_killed_dispatcher_is_recovered(self) -> None:
        """Where attempts are not adopted it is lost, its log stored; recovering again says the same until `remove`."""
        work = await self.abandon(WAITS)
        async with self.open_executor() as executor:
            if executor.guarantees.adopts:
                pytest.skip("its attempts outlive the dispatcher")
            [status] = await executor.recover()
            assert (status.handle.job, status.handle.attempt) == (work.job.id, work.job.attempt)
            assert status.failure is not None
            assert status.failure.kind is FailureClass.LOST
            assert b"begun\n" in await self.stored(status.log)
            assert list(await executor.recover()) == [status]
            assert await executor.submit(work) == status.handle
            assert await final(executor, status.handle) == status
            await executor.remove(status.handle)
            assert await executor.recover() == []

    async def test_an_attempt_of_a_killed_dispatcher_goes_on(self) -> None:
        """Where attempts are adopted it is found, and followed on by whoever submits it again; nothing runs twice."""
        work = await self.abandon(ENDS_LATE)
        async with self.open_executor() as executor:
            if not executor.guarantees.adopts:
                pytest.skip("its attempts end with the dispatcher")
            [status] = await executor.recover()
            assert (status.handle.job, status.handle.attempt) == (work.job.id, work.job.attempt)
            assert not status.final
            assert await executor.submit(work) == status.handle
            after = await final(executor, status.handle)
            assert after.phase is Phase.SUCCEEDED
            log = await self.stored(after.log)
            assert (log.count(b"begun"), log.count(b"said")) == (1, 1)
            await executor.remove(status.handle)
            assert await executor.recover() == []

    async def test_an_attempt_that_ended_meanwhile_is_found_with_its_results(self) -> None:
        """It ended while nobody followed it: its results and its log are all there."""
        async with self.open_executor() as executor:
            if not executor.guarantees.adopts:
                pytest.skip("its attempts end with the dispatcher")
            work = self.assignment(ENDS_LATER)
            handle = await executor.submit(work)
            await logs_line(executor, handle, b"begun")
        await self.ended(work)
        async with self.open_executor() as executor:
            status = await final(executor, await executor.submit(work))
            assert status.phase is Phase.SUCCEEDED
            assert b"said" in await self.stored(status.log)

    async def test_an_attempt_that_is_left_goes_on_for_another(self) -> None:
        """Two follow it in turn; who left it tells nothing of it any more."""
        async with self.open_executor() as first, self.open_executor() as second:
            if not first.guarantees.adopts:
                pytest.skip("its attempts end with the dispatcher")
            work = self.assignment(WAITS)
            handle = await first.submit(work)
            await logs_line(first, handle, b"begun")
            await first.leave(handle)
            assert (await first.state(handle)).phase is Phase.RUNNING
            assert await second.submit(work) == handle
            await second.cancel(handle)
            assert (await final(second, handle)).phase is Phase.FAILED
            assert not (await first.state(handle)).final

    async def test_attempts_of_a_living_dispatcher_are_left_alone(self) -> None:
        """`recover` is for what nobody follows; where it tells of all there is, it touches nothing."""
        async with self.open_executor() as watching:
            handle = await watching.submit(self.assignment(WAITS))
            await logs_line(watching, handle, b"begun")
            async with self.open_executor() as other:
                found = await other.recover()
                adopts = other.guarantees.adopts
                assert [(one.handle, one.final) for one in found] == ([(handle, False)] if adopts else [])
            assert (await watching.state(handle)).phase is Phase.RUNNING
            await watching.remove(handle)
