"""How attempts stand by the statuses of real pods: see `pods/README.md`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ion.adapters.executors.kubernetes.pods import time_s
from ion.adapters.executors.kubernetes.seen import Seen, see
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.model.job import Failure, FailureClass
from ion.model.module import Module
from ion.ports.executor import Phase

PODS = Path(__file__).parent / "pods"
MODULE = Module(name="detect", timeout_s=2.0, start_timeout_s=600.0)
INFRASTRUCTURE, LOST = FailureClass.INFRASTRUCTURE, FailureClass.LOST


def pod(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((PODS / f"{name}.json").read_text())
    return document


def seen(name: str, *, after_s: float) -> Seen:
    """So long after the pod was made."""
    document = pod(name)
    made_s = time_s(document["metadata"]["creationTimestamp"])
    return see(document, MODULE, KubernetesSettings(), now_s=made_s + after_s)


def test_every_status_that_was_captured_is_looked_at() -> None:
    """None stands there for nothing."""
    assert {file.stem for file in PODS.glob("*.json")} == {*FAILED, *WAITING, "succeeded", "running", "committing"}


def test_a_job_that_went_well_has_succeeded() -> None:
    """Prepare told the execution, commit the manifest; the module has its times."""
    found = seen("succeeded", after_s=60)
    assert (found.phase, found.execution) == (Phase.SUCCEEDED, "x-1")
    assert (found.manifest, found.node) == ("j/1/x-1/manifest.json", "127.0.0.1")
    assert 0 < found.started_at_s <= found.ended_at_s


@pytest.mark.parametrize("name", ["running", "committing"])
def test_it_runs_from_the_modules_start_to_the_end_of_commit(name: str) -> None:
    """Although the pod itself is called pending while init containers run."""
    found = seen(name, after_s=60)
    assert (found.phase, found.execution, found.failure) == (Phase.RUNNING, "x-1", None)
    assert bool(found.ended_at_s) == (name == "committing")


FAILED = {
    "exit-3": Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3),
    "killed-by-signal": Failure(kind=FailureClass.MODULE, message="killed by SIGSEGV", exit_code=-11),
    "killed-by-hand": Failure(
        kind=LOST, message="killed by SIGKILL, by hand or by another program of its node", exit_code=-9
    ),
    "out-of-memory": Failure(kind=FailureClass.MEMORY, message="killed by SIGKILL: out of memory", exit_code=-9),
    "no-program": Failure(kind=FailureClass.CONTRACT, message="the module could not be started: failed to create"),
    "deadline": Failure(kind=FailureClass.TIMEOUT, message="it ran longer than its time limit of 2 s"),
    "deadline-in-prepare": Failure(
        kind=INFRASTRUCTURE,
        message="the module had not started at its pod's deadline: what comes before it took too long",
    ),
    "too-much-disk": Failure(
        kind=FailureClass.MODULE,
        message='it needed more disk than it may have (resources.disk): Usage of EmptyDir volume "ion" exceeds',
    ),
    "prepare-failed": Failure(kind=INFRASTRUCTURE, message="the store is away"),
    "prepare-silent": Failure(
        kind=INFRASTRUCTURE, message="container prepare ended with exit code 7 and did not say why; see its log"
    ),
    "commit-failed": Failure(kind=FailureClass.CONTRACT, message="out/events/a.json: no JSON"),
    "commit-killed": Failure(
        kind=INFRASTRUCTURE, message="container commit ended with killed by SIGKILL and did not say why; see its log"
    ),
    "deleted": Failure(kind=LOST, message="its pod is gone: it was deleted, or had to make room for another"),
}


@pytest.mark.parametrize("name", FAILED)
def test_an_end_has_its_class_and_a_sentence(name: str) -> None:
    """As the cluster told it; the message begins so, and goes on with the node's own."""
    found, expected = seen(name, after_s=60), FAILED[name]
    assert found.phase is Phase.FAILED
    assert found.failure is not None
    assert (found.failure.kind, found.failure.exit_code) == (expected.kind, expected.exit_code)
    assert found.failure.message.startswith(expected.message)


WAITING = {
    "image-not-there": ("the image registry.invalid/acme/none:1 cannot be pulled: rpc error: ", 300),
    "image-backs-off": ("the image registry.invalid/acme/none:1 cannot be pulled: Back-off pulling image", 300),
    "image-name": ("'Acme/detect:1' cannot be an image's name: Failed to apply default image tag", 0),
    "no-secret": ('container module cannot be made (CreateContainerConfigError): secret "not-there" not found', 300),
    "no-room": ("it could not be placed on a node: 0/1 nodes are available: 1 Insufficient cpu.", 600),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_a_pod_waits_for_becomes_its_failure(name: str) -> None:
    """It is told before, and when it will be."""
    message, patience_s = WAITING[name]
    early, late = seen(name, after_s=0.5), seen(name, after_s=1000)
    assert late.phase is Phase.FAILED
    assert late.failure is not None
    assert late.failure.kind is (INFRASTRUCTURE if patience_s else FailureClass.CONTRACT)
    assert late.failure.message.startswith(message)
    if patience_s:
        assert (early.phase, early.message) == (Phase.PENDING, late.failure.message)
        made = datetime.fromisoformat(pod(name)["metadata"]["creationTimestamp"]).timestamp()
        assert patience_s <= early.fails_at_s - made <= patience_s + 30
