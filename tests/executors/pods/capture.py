"""Makes the pods whose statuses stand beside this file, on a real cluster: `python tests/executors/pods/capture.py`.

Each is the Job of an attempt as the executor would make it, but that a shell stands in for the handler, and goes the
way that its file is named after. The cluster is that of `make cluster-up`, or whichever `KUBECONFIG` names; busybox has
to be there as ion.local/busybox:1. What tells no more than who wrote a field and when (`managedFields`) is left out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ion.adapters.executors.kubernetes.pod import job_body
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.model.event import Event, utc_now
from ion.model.ids import new_id
from ion.model.job import Job
from ion.model.module import Module, Resources, revise
from ion.ports.executor import Assignment

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ENVIRON = {"KUBECONFIG": str(CACHE / "ion" / "kubernetes" / "run" / "kubeconfig"), **os.environ}
NAMESPACE = f"ion-statuses-{os.getpid()}"
BUSYBOX = "ion.local/busybox:1"
PATIENCE_S = 150.0
PREPARE = """mkdir -m 777 -p /work/ion && printf '{"execution": "x-1", "prepared_at_s": 1.5}' > /dev/termination-log"""
COMMIT = """printf '{"execution": "x-1", "manifest": "j/1/x-1/manifest.json"}' > /dev/termination-log"""
FAIL = """printf '{"failure": {"kind": "%s", "message": "%s"}}' > /dev/termination-log; exit 1"""

Document = dict[str, Any]
Until = Callable[[Document], bool]


def kubectl(*arguments: str, stdin: str = "") -> str:
    command = ["kubectl", f"--namespace={NAMESPACE}", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, env=ENVIRON).stdout


def over(pod: Document) -> bool:
    """Whether it has ended. Where the node ended it, an old kubelet never tells the end of what ran."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def statuses(pod: Document) -> list[Document]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def waits(reason: str) -> Until:
    return lambda pod: any(one["state"].get("waiting", {}).get("reason") == reason for one in statuses(pod))


def runs(name: str) -> Until:
    return lambda pod: any(one["name"] == name and "running" in one["state"] for one in statuses(pod))


def unplaced(pod: Document) -> bool:
    return any(one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions", []))


def body(script: str, *, prepare: str = PREPARE, commit: str = COMMIT, deadline_s: int = 0, **module: Any) -> Document:
    """The Job of an attempt whose module is this shell command."""
    event = Event(id=new_id(), type="photo", source="s", correlation_id=new_id(), parent_id="front", time=utc_now())
    job = Job(id=new_id(), module="detect", attempt=1, event=event)
    words = {"command": ("sh", "-c", script)} if script else {}
    made = Module(**{"name": "detect", "image": BUSYBOX, "grace_s": 1.0, **words, **module})
    document = job_body(Assignment(job=job, revision=revise(made)), KubernetesSettings(handler_image=BUSYBOX))
    spec = document["spec"]["template"]["spec"]
    for container, line in ((spec["initContainers"][0], prepare), (spec["containers"][0], commit)):
        container["command"] = ["sh", "-c", line.replace("$", "$$")]
    if deadline_s:
        spec["activeDeadlineSeconds"] = deadline_s
    return document


def captured(document: Document, until: Until, *, delete: bool = False) -> Document:
    """The pod of the Job when it is so far. With `delete` it is deleted once the module runs."""
    name = document["metadata"]["name"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"assignment.json": "{}"}}
    for one in (secret, document):
        kubectl("create", "-f", "-", stdin=json.dumps(one))
    deadline, asked = time.monotonic() + PATIENCE_S, False
    while time.monotonic() < deadline:
        pods = json.loads(kubectl("get", "pods", f"--selector=job-name={name}", "--output=json"))["items"]
        if pods and until(pods[0]):
            pods[0]["metadata"].pop("managedFields", None)
            return dict(pods[0])
        if delete and not asked and pods and runs("module")(pods[0]):
            kubectl("delete", "pod", pods[0]["metadata"]["name"], "--wait=false")
            asked = True
        time.sleep(0.1)
    raise TimeoutError(f"{name} is not so far after {PATIENCE_S:g} s")


def going(pod: Document) -> bool:
    """Deleted, and its module ended by that."""
    return "deletionTimestamp" in pod["metadata"] and not runs("module")(pod)


WAYS: dict[str, Callable[[], Document]] = {
    "succeeded": lambda: captured(body("true"), over),
    "running": lambda: captured(body("sleep 3"), runs("module")),
    "committing": lambda: captured(body("true", commit=f"sleep 3; {COMMIT}"), runs("commit")),
    "exit-3": lambda: captured(body("exit 3"), over),
    "killed-by-signal": lambda: captured(body("sh -c 'kill -SEGV $$'; exit $?"), over),
    "killed-by-hand": lambda: captured(body("sh -c 'kill -KILL $$'; exit $?"), over),
    "out-of-memory": lambda: captured(body("exec tail /dev/zero", resources=Resources(memory=32 * 2**20)), over),
    "no-program": lambda: captured(body("", command=("nope",)), over),
    "deadline": lambda: captured(body("sleep 600", deadline_s=5, timeout_s=2.0), over),
    "deadline-in-prepare": lambda: captured(body("true", prepare="sleep 600", deadline_s=5), over),
    "too-much-disk": lambda: captured(
        body("head -c 64000000 /dev/zero > /ion/large; sleep 600", resources=Resources(disk=2**20)), over
    ),
    "prepare-failed": lambda: captured(body("true", prepare=FAIL % ("infrastructure", "the store is away")), over),
    "prepare-silent": lambda: captured(body("true", prepare="exit 7"), over),
    "commit-failed": lambda: captured(body("true", commit=FAIL % ("contract", "out/events/a.json: no JSON")), over),
    "commit-killed": lambda: captured(body("true", commit="sh -c 'kill -KILL $$'; exit $?"), over),
    "image-not-there": lambda: captured(body("", image="registry.invalid/acme/none:1"), waits("ErrImagePull")),
    "image-backs-off": lambda: captured(body("", image="registry.invalid/acme/none:1"), waits("ImagePullBackOff")),
    "image-name": lambda: captured(body("", image="Acme/detect:1"), waits("InvalidImageName")),
    "no-secret": lambda: captured(body("true", secrets={"K": "not-there"}), waits("CreateContainerConfigError")),
    "no-room": lambda: captured(body("true", resources=Resources(cpu=1000)), unplaced),
    "deleted": lambda: captured(body("trap 'exit 143' TERM; sleep 600 & wait", grace_s=20.0), going, delete=True),
}


def again(way: Callable[[], Document]) -> Document:
    """Somebody else may be restarting the API server."""
    for _ in range(3):
        try:
            return way()
        except subprocess.CalledProcessError as error:
            print(error.stderr, file=sys.stderr)
            time.sleep(5)
    return way()


def main() -> None:
    wanted = sys.argv[1:] or list(WAYS)
    kubectl("create", "namespace", NAMESPACE)
    try:
        while "default" not in kubectl("get", "serviceaccounts", "--output=name"):
            time.sleep(0.1)
        for name in wanted:
            pod = again(WAYS[name])
            (HERE / f"{name}.json").write_text(json.dumps(pod, indent=1, sort_keys=True) + "\n")
            print(f"{name}: {pod['status'].get('phase')} {pod['status'].get('reason', '')}", flush=True)
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


main()
