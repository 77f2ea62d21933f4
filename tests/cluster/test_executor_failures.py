"""How attempts fail on a real cluster, and what is said of it."""

import json

from msgspec.structs import replace
from tests.cluster.attempts import Place, ended, place, set_to, until
from tests.cluster.cluster import Cluster

from ion.model.job import FailureClass
from ion.model.module import Resources
from ion.ports.executor import Assignment, Status
from ion.testing.conformance.executor import WRITES_A_FILE, final

__all__ = ["place"]

MIB = 2**20


async def test_a_module_that_takes_too_much_memory_fails_for_that(place: Place) -> None:
    """The kernel kills it; the failure says why, and is of a class of its own."""
    script = "echo begun; dd if=/dev/zero of=/dev/null bs=100M count=1"
    status = await ended(place, place.assignment(script, resources=Resources(memory=32 * MIB)))
    assert status.failure is not None
    assert status.failure.kind is FailureClass.MEMORY
    assert "out of memory" in status.failure.message
    assert b"begun" in await place.stored(status.log)


async def test_an_image_that_cannot_be_pulled_fails_the_attempt_with_its_name(place: Place) -> None:
    """After a deadline of its own, and it is nobody's try that is burnt."""
    where = set_to(place, pull_deadline_s=2.0)
    status = await ended(where, where.assignment("true", image="localhost:9/ion-tests/none:1"))
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "localhost:9/ion-tests/none:1 cannot be pulled" in status.failure.message


async def too_late(where: Place, work: Assignment, says: str) -> Status:
    """How an attempt ends whose start timeout is over once this is known of what it waits for."""
    async with where.open() as executor:
        handle = await executor.submit(work)
        await until(lambda: says in executor.waits_for(handle))
        await executor.leave(handle)
        hurried = replace(work.revision.module, start_timeout_s=0.1)
        late = replace(work, revision=replace(work.revision, module=hurried))
        return await final(executor, await executor.submit(late))


async def test_a_pod_that_fits_nowhere_fails_after_the_start_timeout(place: Place) -> None:
    """With what the scheduler says."""
    nowhere = {"nodeSelector": {"ion.dev/none": "such"}}
    status = await too_late(place, place.assignment("true", kubernetes=nowhere), "placed")
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "could not be placed" in status.failure.message


async def test_a_program_that_is_not_in_the_image_is_a_fault_for_good(place: Place) -> None:
    """No retry would help."""
    status = await ended(place, place.assignment("true", command=("no-such-program",)))
    assert status.failure is not None
    assert status.failure.kind is FailureClass.CONTRACT
    assert "no-such-program" in status.failure.message


async def test_a_namespace_that_is_not_there_is_said(place: Place) -> None:
    """It may be made yet, so it is no fault of the job."""
    where = set_to(place, namespace="ion-tests-no-such")
    async with where.open() as executor:
        handle = await executor.submit(where.assignment("true"))
        status = await final(executor, handle)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "ion-tests-no-such" in status.failure.message


async def test_a_missing_secret_is_one_sentence(place: Place) -> None:
    """It names the module, the secret, and what to do; nothing is made of the attempt."""
    work = place.assignment("true", secrets={"API_KEY": "vision-key"})
    status = await ended(place, work)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "module probe needs the secret 'vision-key' (as API_KEY)" in status.failure.message
    assert "kubectl create secret generic vision-key" in status.failure.message


async def test_a_quota_that_is_used_up_makes_the_attempt_wait_for_room(place: Place, cluster: Cluster) -> None:
    """Kubernetes makes no pod then; the attempt begins once there is room, and says why if there never is."""
    namespace = place.kubernetes.namespace
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(quota))
    cluster.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.hard.pods}=0", "quota/none", "--timeout=300s")
    status = await too_late(place, place.assignment(WRITES_A_FILE), "exceeded quota: none")
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "exceeded quota: none" in status.failure.message


async def test_a_quota_of_jobs_is_tried_again_before_it_is_told(place: Place, cluster: Cluster) -> None:
    """The Job itself is refused: that may pass at any moment, so the attempt asks again."""
    namespace = place.kubernetes.namespace
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(quota))
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(WRITES_A_FILE))
        cluster.kubectl("delete", "-n", namespace, "quota", "none")
        assert (await final(executor, handle)).manifest is not None
