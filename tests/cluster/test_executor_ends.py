"""Attempts that somebody ends: by cancelling, or behind Ion's back."""

import asyncio

from tests.cluster.attempts import Place, place, set_to, until
from tests.cluster.cluster import Cluster

from ion.adapters.executors.kubernetes.names import JOB
from ion.model.job import Failure, FailureClass
from ion.ports.executor import Assignment, Executor, Handle, Phase, Status
from ion.testing.conformance.executor import WAITS, WRITES_A_FILE, final, logs_line, told

__all__ = ["place"]

STOPPED = Failure(kind=FailureClass.LOST, message="somebody stopped it")
LAST_WORDS = 'trap "echo last words; exit 0" TERM; echo begun; while :; do sleep 0.1; done'


async def begun(executor: Executor, work: Assignment) -> Handle:
    """An attempt whose module runs."""
    handle = await executor.submit(work)
    await logs_line(executor, handle, b"begun")
    return handle


def left(cluster: Cluster, where: Place) -> str:
    """The Jobs, Secrets of jobs and living pods of a place."""
    kinds = ("get", "jobs,secrets", "-n", where.kubernetes.namespace, "-l", "ion.dev/job", "-o", "name")
    return cluster.kubectl(*kinds)


async def test_a_cancelled_module_has_its_grace_and_its_last_words(place: Place, cluster: Cluster) -> None:
    """It hears SIGTERM; what it says then is in the log, and afterwards nothing of it is in the cluster."""
    async with place.open() as executor:
        handle = await begun(executor, place.assignment(LAST_WORDS))
        await executor.cancel(handle, STOPPED)
        status = await final(executor, handle)
        assert (status.phase, status.failure, status.manifest) == (Phase.FAILED, STOPPED, None)
        assert status.began_s > 0.0
        log = await place.stored(status.log)
        assert log.splitlines()[-1].endswith(b"last words")
        await executor.remove(handle)
        assert left(cluster, place) == ""


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(place: Place, cluster: Cluster) -> None:
    """A module cannot keep itself alive: the node, which counts the seconds, has its grace from its pod."""
    async with place.open() as executor:
        script = 'trap "" TERM; echo begun; while :; do sleep 0.1; done'
        handle = await begun(executor, place.assignment(script, grace_s=1.0))
        graces = "jsonpath={.items[*].spec.terminationGracePeriodSeconds}"
        assert cluster.kubectl("get", "pods", "-n", place.kubernetes.namespace, "-o", graces) == "1"
        await executor.cancel(handle, STOPPED)
        assert (await final(executor, handle)).failure == STOPPED


async def test_one_that_waits_for_a_node_is_cancelled_at_once(place: Place) -> None:
    """There is nothing to wait for."""
    nowhere = {"nodeSelector": {"ion.dev/none": "such"}}
    async with place.open() as executor:
        handle = await executor.submit(place.assignment("true", kubernetes=nowhere))
        await until(lambda: "placed" in executor.waits_for(handle))
        await executor.cancel(handle, STOPPED)
        status = await final(executor, handle)
        assert (status.failure, status.manifest) == (STOPPED, None)


async def test_one_whose_image_is_pulled_is_cancelled(place: Place) -> None:
    """It has not begun, and never will."""
    async with place.open() as executor:
        handle = await executor.submit(place.assignment("true", image="localhost:9/ion-tests/none:1"))
        await until(lambda: "pulled" in executor.waits_for(handle))
        await executor.cancel(handle, STOPPED)
        assert (await final(executor, handle)).failure == STOPPED


async def test_one_whose_job_was_deleted_by_hand_is_lost(place: Place, cluster: Cluster) -> None:
    """Its pod goes with it, and what it logged until then is kept."""
    async with place.open() as executor:
        work = place.assignment(WAITS)
        handle = await begun(executor, work)
        which = f"{JOB}={work.job.id}"
        cluster.kubectl("delete", "job", "-l", which, "-n", place.kubernetes.namespace, "--wait=false")
        status = await final(executor, handle)
        assert status.failure is not None
        assert status.failure.kind is FailureClass.LOST
        assert b"begun" in await place.stored(status.log)


async def test_a_pod_that_is_replaced_is_another_execution_of_the_same_attempt(place: Place, cluster: Cluster) -> None:
    """Whether Kubernetes replaces a deleted pod is its own affair: the attempt stays one, and ends once."""
    async with place.open() as executor:
        work = place.assignment('[ -n "$(ls /ion/in)" ]; echo begun; sleep 3; echo a > "$ION_DIR/out/data/a.txt"')
        handle = await begun(executor, work)
        namespace = place.kubernetes.namespace
        cluster.kubectl("delete", "pod", "--all", "-n", namespace, "--wait=false", "--grace-period=1")
        status = await final(executor, handle)
        if status.manifest is None:
            assert status.failure is not None
            assert status.failure.kind is FailureClass.LOST
        else:
            log = await place.stored(status.log)
            assert log.count(b"begun") == 2
            assert b"[ion] Kubernetes replaced the pod" in log
        manifests = [path for path in await place.paths(f"{work.job.id}/") if path.endswith("/manifest.json")]
        assert len(manifests) == (status.manifest is not None)


async def test_a_pod_past_its_own_deadline_has_ended_whatever_its_node_says(place: Place, cluster: Cluster) -> None:
    """It ends a pod that nobody follows; an old node never tells that the containers have gone with it."""
    where = set_to(place, slack_s=1.0)
    async with where.open() as executor:
        work = where.assignment(LAST_WORDS, grace_s=1.0)
        handle = await begun(executor, work)
        await executor.leave(handle)
        (pod,) = cluster.kubectl("get", "pods", "-n", where.kubernetes.namespace, "-o", "name").split()
        past = '{"spec": {"activeDeadlineSeconds": 1}}'
        cluster.kubectl("patch", pod, "-n", where.kubernetes.namespace, "-p", past)
        words = ("get", "pods", "-n", where.kubernetes.namespace, "-o", "jsonpath={.items[*].status.reason}")
        await until(lambda: "DeadlineExceeded" in cluster.kubectl(*words))
        assert await executor.submit(work) == handle
        status = await final(executor, handle)
        assert status.failure is not None
        assert status.failure.kind is FailureClass.TIMEOUT
        assert b"begun" in await place.stored(status.log)


async def test_two_that_submit_at_once_follow_one_attempt(place: Place, cluster: Cluster) -> None:
    """Two dispatchers, one of which was thought dead: there is one Job, and both are told the same end."""
    async with place.open() as first, place.open() as second:
        work = place.assignment(WRITES_A_FILE)
        handle, again = await asyncio.gather(first.submit(work), second.submit(work))
        assert handle == again
        ends: list[Status] = list(await asyncio.gather(final(first, handle), final(second, handle)))
        assert ends[0] == ends[1]
        assert ends[0].phase is Phase.SUCCEEDED
        assert 0.0 < ends[0].began_s <= ends[0].ended_s  # the module's, by the cluster's clock
        assert left(cluster, place).count("job.batch/") == 1
        await first.remove(handle)
        await second.remove(handle)
        assert left(cluster, place) == ""


async def test_cancelling_while_commit_runs_ends_it_one_way(place: Place) -> None:
    """Either the results came first, or the cancellation: never something between."""
    async with place.open() as executor:
        work = place.assignment(WRITES_A_FILE)
        handle = await executor.submit(work)
        await told(executor, handle, lambda status: status.phase is Phase.RUNNING)
        await executor.cancel(handle, STOPPED)
        status = await final(executor, handle)
        assert (status.failure == STOPPED) != (status.manifest is not None)
