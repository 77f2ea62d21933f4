"""How an attempt stands, by the status of its pod.

Those of `pods/` are real: see there. Those that are written here are what the documentation says of things that
cannot be made to happen at will: a node that is lost, a newer server's disruption.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ion.adapters.executors.kubernetes.seen import Seen, see, vanished, without_pod
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.model.job import Failure, FailureClass
from ion.model.module import Module
from ion.ports.executor import Phase

Document = dict[str, Any]
START_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
MODULE = Module(name="detect", image="acme/detect:1", timeout_s=100.0, start_timeout_s=1000.0)
SETTINGS = KubernetesSettings(pull_deadline_s=60.0)


def at(seconds: float) -> str:
    """So long after the pod was made, as the API writes it."""
    return datetime.fromtimestamp(START_S + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(since: float) -> Document:
    return {"running": {"startedAt": at(since)}}


def ended(code: int, since: float, until: float, **more: Any) -> Document:
    return {"terminated": {"exitCode": code, "startedAt": at(since), "finishedAt": at(until), **more}}


def said(**told: Any) -> str:
    return json.dumps(told)


PREPARED = ended(0, 1, 2, message=said(execution="x-1", prepared_at_s=1.0))


def pod(*states: Document, placed: bool = True, meta: Document | None = None, **status: Any) -> Document:
    """A pod whose containers are in these states, in order; those without are as if never heard of."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)}
    conditions = [*([scheduled] if placed else []), *status.pop("conditions", [])]
    told = [
        {"name": name, "state": state} for name, state in zip(("prepare", "module", "commit"), states, strict=False)
    ]
    return {
        "metadata": {"name": "p", "creationTimestamp": at(0), **(meta or {})},
        "spec": {
            "nodeName": "n1",
            "activeDeadlineSeconds": 5000,
            "initContainers": [{"name": "prepare", "image": "ion:1"}, {"name": "module", "image": "acme/detect:1"}],
            "containers": [{"name": "commit", "image": "ion:1"}],
        },
        "status": {
            "phase": "Pending",
            "conditions": conditions,
            "initContainerStatuses": told[:2],
            "containerStatuses": told[2:],
            **status,
        },
    }


def seen(document: Document, *, after: float = 10.0, heard: str = "") -> Seen:
    return see(document, MODULE, SETTINGS, now_s=START_S + after, heard=heard)


def failure(document: Document, *, after: float = 10.0) -> Failure:
    found = seen(document, after=after)
    assert found.phase is Phase.FAILED
    assert found.failure is not None
    return found.failure


def deleted(at_s: float, grace_s: int) -> Document:
    """The metadata of a pod that was told to go at `at_s`."""
    return {"deletionTimestamp": at(at_s + grace_s), "deletionGracePeriodSeconds": grace_s}


def test_it_is_pending_until_the_module_runs() -> None:
    """Prepare's work is part of the start; what it told is known from its end on."""
    assert seen(pod(running(1))) == Seen(phase=Phase.PENDING, node="n1")
    assert seen(pod(PREPARED, running(3))) == Seen(
        phase=Phase.RUNNING, execution="x-1", started_at_s=START_S + 3, node="n1"
    )


def test_it_runs_until_commit_has_ended() -> None:
    """The module's own end is only half of it."""
    found = seen(pod(PREPARED, ended(0, 3, 5), running(6)))
    assert (found.phase, found.started_at_s, found.ended_at_s) == (Phase.RUNNING, START_S + 3, START_S + 5)


def test_it_has_succeeded_when_commit_has() -> None:
    """Commit tells where the manifest is. Without its word it has succeeded too, and the manifest is to be found."""
    done = pod(PREPARED, ended(0, 3, 5), ended(0, 6, 7, message=said(execution="x-1", manifest="a/b.json")))
    assert (seen(done).phase, seen(done).manifest, seen(done).execution) == (Phase.SUCCEEDED, "a/b.json", "x-1")
    silent = pod(PREPARED, ended(0, 3, 5), ended(0, 6, 7))
    assert (seen(silent).phase, seen(silent).manifest, seen(silent).execution) == (Phase.SUCCEEDED, "", "x-1")


def test_what_befalls_a_pod_after_its_commit_means_nothing() -> None:
    """The results are stored."""
    done = pod(PREPARED, ended(0, 3, 5), ended(0, 6, 7), phase="Failed", reason="Evicted", meta=deleted(8, 30))
    assert seen(done).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("code", "more", "expected"),
    [
        (3, {}, Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)),
        (128, {}, Failure(kind=FailureClass.MODULE, message="exit code 128", exit_code=128)),
        (255, {}, Failure(kind=FailureClass.MODULE, message="exit code 255", exit_code=255)),
        (143, {}, Failure(kind=FailureClass.MODULE, message="killed by SIGTERM", exit_code=-15)),
        (139, {}, Failure(kind=FailureClass.MODULE, message="killed by SIGSEGV", exit_code=-11)),
        (
            137,
            {"reason": "OOMKilled"},
            Failure(kind=FailureClass.MEMORY, message="killed by SIGKILL: out of memory", exit_code=-9),
        ),
        (
            1,
            {"reason": "OOMKilled"},
            Failure(kind=FailureClass.MEMORY, message="exit code 1: out of memory", exit_code=1),
        ),
        (
            137,
            {},
            Failure(
                kind=FailureClass.LOST,
                message="killed by SIGKILL, by hand or by another program of its node",
                exit_code=-9,
            ),
        ),
    ],
)
def test_a_modules_end_is_told_as_on_a_host(code: int, more: Document, expected: Failure) -> None:
    """The same class, words and code; a signal is a negative one."""
    assert failure(
        pod(PREPARED, ended(code, 3, 5, reason="Error") | ({} if not more else ended(code, 3, 5, **more)))
    ) == (expected)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('exec: "nope": executable file not found in $PATH: unknown', FailureClass.CONTRACT),
        ("exec /x.sh: exec format error", FailureClass.CONTRACT),
        ("failed to create task for container: cgroups: cannot allocate memory", FailureClass.INFRASTRUCTURE),
        ('error mounting "/var/lib/kubelet/x": no such file or directory', FailureClass.INFRASTRUCTURE),
    ],
)
def test_a_program_that_is_not_there_is_the_modules_fault_for_good(message: str, kind: FailureClass) -> None:
    """What else keeps a container from starting is the node's."""
    never = {"exitCode": 128, "reason": "StartError", "message": message, "startedAt": "1970-01-01T00:00:00Z"}
    found = failure(pod(PREPARED, {"terminated": {**never, "finishedAt": at(5)}}))
    assert (found.kind, found.message) == (kind, f"the module could not be started: {message}")


@pytest.mark.parametrize("which", ["prepare", "commit"])
def test_the_handler_says_itself_why_it_failed(which: str) -> None:
    """Class and sentence are its own."""
    told = said(failure={"kind": "contract", "message": "out/events/a.json: no such file"})
    last = ended(1, 6, 7, reason="Error", message=told)
    states = [last] if which == "prepare" else [PREPARED, ended(0, 3, 5), last]
    assert failure(pod(*states)) == Failure(kind=FailureClass.CONTRACT, message="out/events/a.json: no such file")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"reason": "OOMKilled"}, "container commit ran out of memory; raise its memory limit by a podTemplate"),
        ({"reason": "Error"}, "container commit ended with killed by SIGKILL and did not say why; see its log"),
        ({"reason": "Error", "message": '{"failure": {"kind": "cont'}, "container commit ended with killed by"),
        ({"reason": "Error", "message": '{"failure": {"kind": "new", "message": "m"}}'}, "m"),
        ({"reason": "StartError", "message": "no ion"}, "container commit could not be started: no ion"),
    ],
)
def test_a_handler_that_does_not_say_why_is_no_fault_of_the_module(more: Document, expected: str) -> None:
    """It was killed, or its word was cut, or is of another version."""
    found = failure(pod(PREPARED, ended(0, 3, 5), ended(137, 6, 7, **more)))
    assert found.kind is FailureClass.INFRASTRUCTURE
    assert found.message.startswith(expected)


def test_another_container_that_fails_is_named() -> None:
    """Somebody may have put it there by a template."""
    document = pod(PREPARED)
    document["spec"]["initContainers"].insert(1, {"name": "warm"})
    document["status"]["initContainerStatuses"].append({"name": "warm", "state": ended(2, 3, 4)})
    assert failure(document).message == "container warm ended with exit code 2 and did not say why; see its log"


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated"])
def test_what_the_node_did_is_a_loss(reason: str) -> None:
    """Whatever became of the containers by that."""
    document = pod(PREPARED, ended(137, 3, 5), phase="Failed", reason=reason, message="The node was low on memory.")
    found = failure(document)
    assert found.kind is FailureClass.LOST
    assert found.message == f"its pod was ended by its node ({reason}): The node was low on memory."


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('Usage of EmptyDir volume "ion" exceeds the limit "1Mi". ', FailureClass.MODULE),
        ("Container module exceeded its local ephemeral storage limit 1Mi. ", FailureClass.MODULE),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ", FailureClass.MODULE),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". ', FailureClass.INFRASTRUCTURE),
        ("The node was low on resource: ephemeral-storage. Container module was using 1Gi. ", FailureClass.LOST),
    ],
)
def test_a_pod_that_is_evicted_for_its_own_limits_did_it_itself(message: str, kind: FailureClass) -> None:
    """To try that again on another node as often as a lost one would not help."""
    found = failure(pod(PREPARED, phase="Failed", reason="Evicted", message=message))
    assert found.kind is kind
    assert message.strip() in found.message


def test_a_node_that_refuses_a_pod_is_no_loss_for_nothing_ran() -> None:
    """It had no room after all, say."""
    found = failure(pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"))
    assert found.kind is FailureClass.INFRASTRUCTURE
    assert found.message == "its node refused its pod (OutOfcpu): Node didn't have enough resource: cpu"


def test_a_failed_pod_without_a_reason_is_lost_if_something_ran() -> None:
    """Its end was not seen."""
    assert failure(pod(PREPARED, running(3), phase="Failed")).kind is FailureClass.LOST


def test_an_end_that_was_not_seen_is_a_loss() -> None:
    """The kubelet makes up a code for it."""
    unseen = ended(137, 3, 5, reason="ContainerStatusUnknown", message="The container could not be located")
    found = failure(pod(PREPARED, unseen))
    assert (found.kind, found.message) == (
        FailureClass.LOST,
        "the end of container module was not seen: The container could not be located",
    )


def test_a_module_that_ends_because_its_pod_was_deleted_is_lost() -> None:
    """One that failed by itself before has failed."""
    assert failure(pod(PREPARED, ended(143, 3, 9), meta=deleted(8, 30))).kind is FailureClass.LOST
    assert failure(pod(PREPARED, ended(3, 3, 7), meta=deleted(8, 30))).kind is FailureClass.MODULE


def test_a_pod_that_was_told_to_go_may_still_end_well() -> None:
    """It has its grace; when it should be gone for long, its node is."""
    going = pod(PREPARED, running(3), meta=deleted(8, 30))
    assert seen(going, after=38).phase is Phase.RUNNING
    found = failure(going, after=100)
    assert (found.kind, found.message) == (FailureClass.LOST, "its pod was told to go, and its node n1 does not answer")


@pytest.mark.parametrize(
    "reason", ["PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC"]
)
def test_a_disruption_is_a_loss(reason: str) -> None:
    """Newer servers say what it was."""
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "preempting to make room"}
    document = pod(PREPARED, ended(137, 3, 9), phase="Failed", conditions=[target])
    expected = Failure(kind=FailureClass.LOST, message=f"its pod was taken away ({reason}): preempting to make room")
    assert failure(document) == expected
    assert vanished(document) == expected


def test_a_pod_that_is_gone_is_lost() -> None:
    """With its Job or without."""
    assert vanished(None).kind is vanished(pod(PREPARED)).kind is FailureClass.LOST


def test_the_pods_deadline_is_the_modules_if_it_used_its_time() -> None:
    """Else it is somebody else's fault that none was left."""
    late: Document = {"phase": "Failed", "reason": "DeadlineExceeded"}
    used = failure(pod(PREPARED, ended(137, 3, 110), **late))
    assert used == Failure(kind=FailureClass.TIMEOUT, message="it ran longer than its time limit of 100 s")
    assert failure(pod(PREPARED, running(3), **late), after=110) == used
    assert failure(pod(PREPARED, ended(137, 3, 50), **late)).kind is FailureClass.INFRASTRUCTURE
    assert failure(pod(running(1), **late)).kind is FailureClass.INFRASTRUCTURE
    commit = failure(pod(PREPARED, ended(0, 3, 5), running(6), **late))
    assert commit == Failure(kind=FailureClass.INFRASTRUCTURE, message="commit did not end before its pod's deadline")
    late["startTime"] = at(0)
    assert failure(pod(PREPARED, ended(0, 3, 5), running(6), **late)) == commit
    told_to_go = pod(PREPARED, ended(0, 3, 5010), **late)
    assert failure(told_to_go, after=5020) == used


def test_a_deadline_that_a_template_made_short_is_the_modules() -> None:
    """Somebody wanted it so."""
    document = pod(PREPARED, ended(137, 3, 50), phase="Failed", reason="DeadlineExceeded")
    document["spec"]["activeDeadlineSeconds"] = 50
    assert failure(document).kind is FailureClass.TIMEOUT


def unplaced(message: str) -> Document:
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(placed=False, conditions=[refused])


def test_a_pod_without_a_node_waits_for_as_long_as_it_may() -> None:
    """The scheduler says what is missing, and that is told before it fails."""
    document = unplaced("0/1 nodes are available: 1 Insufficient cpu.")
    message = "it could not be placed on a node: 0/1 nodes are available: 1 Insufficient cpu."
    assert seen(document, after=999) == Seen(phase=Phase.PENDING, message=message, fails_at_s=START_S + 1000, node="n1")
    assert failure(document, after=1000) == Failure(kind=FailureClass.INFRASTRUCTURE, message=message)


def stuck(reason: str, message: str = "m") -> Document:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_has_its_own_deadline(reason: str) -> None:
    """It counts from when the container could have begun."""
    document = pod(PREPARED, stuck(reason, "not found"))
    assert seen(document, after=61).phase is Phase.PENDING
    assert seen(document, after=61).message == "the image acme/detect:1 cannot be pulled: not found"
    assert failure(document, after=62) == Failure(
        kind=FailureClass.INFRASTRUCTURE, message="the image acme/detect:1 cannot be pulled: not found"
    )


def test_the_reason_is_remembered_between_two_tries() -> None:
    """The kubelet only says then that it waits."""
    first = seen(pod(PREPARED, stuck("ErrImagePull", "401 Unauthorized"))).message
    waiting = pod(PREPARED, stuck("ImagePullBackOff", 'Back-off pulling image "acme/detect:1"'))
    assert seen(waiting, heard=first).message == first == "the image acme/detect:1 cannot be pulled: 401 Unauthorized"
    for other in ("", "it could not be placed on a node: 0/1 nodes are available."):
        assert seen(waiting, heard=other).message.endswith('Back-off pulling image "acme/detect:1"')


@pytest.mark.parametrize("reason", ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"])
def test_a_container_that_cannot_be_made_has_the_same_deadline(reason: str) -> None:
    """A Secret may still come."""
    document = pod(stuck(reason, 'secret "vision-key" not found'))
    message = f'container prepare cannot be made ({reason}): secret "vision-key" not found'
    assert (seen(document).message, seen(document).fails_at_s) == (message, START_S + 60)
    assert failure(document, after=60).message == message


def test_no_image_of_that_name_can_ever_be() -> None:
    """The module's fails at once and for good; the handler's is somebody else's mistake."""
    assert failure(pod(PREPARED, stuck("InvalidImageName"))).kind is FailureClass.CONTRACT
    assert seen(pod(stuck("InvalidImageName"))).phase is Phase.PENDING


def test_all_waiting_together_has_one_deadline() -> None:
    """What was waited before prepare is not there for the module's image; prepare's own time does not count."""
    late = [ended(0, 900, 2000), stuck("PodInitializing")]
    assert seen(pod(*late), after=2099).phase is Phase.PENDING
    found = failure(pod(*late), after=2100)
    assert found == Failure(kind=FailureClass.INFRASTRUCTURE, message="container module did not start within 1000 s")
    assert seen(pod(stuck("ContainerCreating")), after=999).fails_at_s == START_S + 1000
    assert failure(pod(stuck("ContainerCreating")), after=1000).kind is FailureClass.INFRASTRUCTURE


def test_what_runs_has_no_deadline_here() -> None:
    """The dispatcher ends it, or at last the pod's own deadline."""
    for states in ([running(1)], [PREPARED, running(3)], [PREPARED, ended(0, 3, 5), running(6)]):
        assert seen(pod(*states), after=10**6).failure is None


def test_a_side_car_is_not_waited_for() -> None:
    """Newer servers know init containers that run on beside the others."""
    document = pod(PREPARED, ended(0, 3, 5), running(6))
    document["spec"]["initContainers"].insert(0, {"name": "proxy", "restartPolicy": "Always"})
    document["status"]["initContainerStatuses"].insert(0, {"name": "proxy", "state": stuck("ErrImagePull")})
    assert seen(document, after=10**6).phase is Phase.RUNNING


def test_a_job_without_a_pod_waits_for_one() -> None:
    """The quota may be used up; the Job's events say so."""
    early = without_pod(START_S, MODULE, now_s=START_S + 999, why="exceeded quota: pods=10")
    assert early == Seen(phase=Phase.PENDING, message="exceeded quota: pods=10", fails_at_s=START_S + 1000)
    late = without_pod(START_S, MODULE, now_s=START_S + 1000, why="exceeded quota: pods=10").failure
    assert late == Failure(
        kind=FailureClass.INFRASTRUCTURE, message="no pod was made for it within 1000 s: exceeded quota: pods=10"
    )


def test_a_pod_of_which_nothing_is_known_yet_is_pending() -> None:
    """The scheduler has not seen it."""
    bare = {"metadata": {"creationTimestamp": at(0)}, "spec": {}, "status": {}}
    assert seen(bare).phase is Phase.PENDING
