"""The control plane on the cluster: what the original's clients create, see and delete, and what stays true of it."""

import json
import tempfile
from pathlib import Path

import httpx
import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.control_place import START_S, Api, Place, control, raised, waits
from tests.cluster.image_tar import write_image
from tests.waiting import waited

from ion.management.rpc.original_pb2 import ModuleCreateRequest
from ion.management.verbs import Management
from ion.management.verbs.server import Grade, Symptom
from ion.model.job import State

__all__ = ["control"]

GREETER = "localhost/ion-tests/greeter:1"
GREETS = b'#!/bin/busybox sh\necho "hello $WHOM" > /ion/out/data/greeting.txt\n'


@pytest.fixture(scope="session")
def greeter(cluster: Cluster) -> str:
    """An image that does its work by itself, as the original's did."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "greeter.tar"
        program = Path("/bin/busybox").resolve().read_bytes()
        files = {"bin/busybox": (program, 0o755), "bin/greet": (GREETS, 0o755)}
        write_image(archive, GREETER, files, entrypoint=["/bin/greet"])
        cluster.load(archive)
    return GREETER


def create(api: Api, image: str = GREETER) -> str:
    return api.create(
        ModuleCreateRequest(
            modulename="greet",
            eventsubscriptions="visitor",
            moduleimage=image,
            instancecount=2,
            retrycount=1,
            provider="Kubernetes",
            maxexecutiontimemins=5,
            configmap={"WHOM": "world"},
        )
    )


def stands(api: Api, word: str, part: str) -> bool:
    """Whether the module has that status, and a message with that part, before long."""
    return waited(lambda: api.get("greet")[1] == word and part in api.get("greet")[2], START_S)


def test_a_module_of_the_originals_client_is_served_by_a_dispatcher_of_its_own(control: Place, greeter: str) -> None:
    """Create makes a Deployment, whose dispatcher runs a job of the front API to its release; Delete takes it away."""
    with control.managed() as api, control.front() as front:
        name = create(api, greeter)
        assert name.startswith("greet-")
        assert stands(api, "ready", ""), api.get(name)
        assert api.get("greet") == (name, "ready", "")
        assert api.names() == [name]
        config = json.loads(control.kubectl("get", "configmap", "ion-dispatcher-greet", "-o", "json"))
        assert config["data"] == {"WHOM": "world"}
        assert httpx.post(f"{front}/events/visitor", files={"a": ("a.txt", b"a")}, timeout=120.0).status_code == 200
        assert waited(lambda: control.here.released("greet"), START_S)
        assert control.here.results("greet") == {"greeting.txt": "hello world\n"}
        api.delete(name)
        assert api.names() == []
        assert waited(lambda: not control.deployments(), START_S)


def test_what_is_done_behind_its_back_is_put_right(control: Place) -> None:
    """A Deployment that was deleted comes back, one that was changed is as it was, and others are nobody's business."""
    with control.managed() as api:
        create(api)
        assert waited(lambda: "ion-dispatcher-greet" in control.deployments(), START_S)
        control.kubectl("create", "deployment", "other", "--image=none", "--replicas=0")
        first = control.deployment("greet")["metadata"]["uid"]
        control.kubectl("delete", "deployment", "ion-dispatcher-greet", "--wait=true")
        assert waited(lambda: "ion-dispatcher-greet" in control.deployments(), START_S)
        assert control.deployment("greet")["metadata"]["uid"] != first
        control.kubectl("set", "image", "deployment/ion-dispatcher-greet", "dispatcher=mine:1")
        assert waited(lambda: image_of(control) != "mine:1", START_S)
        api.delete("greet")
        assert waited(lambda: list(control.deployments()) == ["other"], START_S)


def image_of(control: Place) -> str:
    (container,) = control.deployment("greet")["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def test_modules_that_came_and_went_meanwhile_are_found_at_the_next_start(control: Place) -> None:
    """Management that was killed knows nothing, and needs to know nothing."""
    with control.managed() as api:
        create(api)
        assert waited(lambda: "ion-dispatcher-greet" in control.deployments(), START_S)
    generation = control.deployment("greet")["metadata"]["generation"]
    with control.managed() as api:
        assert stands(api, "ready", "")
        assert control.deployment("greet")["metadata"]["generation"] == generation
    control.ion("module", "delete", "-n", "greet", "--store", str(control.here.store)).wait()
    with control.managed():
        assert waited(lambda: not control.deployments(), START_S)


def test_get_tells_why_a_dispatcher_does_not_start(control: Place) -> None:
    """An image that is not to be had, in the node's words; and that it works once it is there."""
    control.configure(image="localhost:9/ion-tests/none:1")
    with control.managed() as api:
        create(api)
        assert stands(api, "failed", "localhost:9/ion-tests/none:1"), api.get("greet")
    control.configure()
    with control.managed() as api:
        assert stands(api, "ready", ""), api.get("greet")


def test_get_tells_of_a_quota(control: Place) -> None:
    """By the condition of the Deployment; lifted, the dispatcher starts."""
    control.kubectl("create", "quota", "tight", "--hard=pods=0")
    with control.managed() as api:
        create(api)
        assert stands(api, "failed", "exceeded quota: tight"), api.get("greet")
        (symptom,) = [one for one in api.do(examined) if "exceeded quota: tight" in one.message]
        assert symptom.grade is Grade.FAULT
        assert symptom.message.startswith("the dispatchers of greet cannot be started: ")
        control.kubectl("delete", "quota", "tight")
        assert stands(api, "ready", ""), api.get("greet")


async def examined(management: Management) -> list[Symptom]:
    """What `ion doctor` says."""
    return [symptom async for symptom in management.server.doctor()]


def test_get_tells_what_management_lacks(control: Place) -> None:
    """Without its ConfigMap nothing is made, and the sentence says so; once it is there, all goes its way."""
    control.kubectl("delete", "configmap", "ion")
    with control.managed() as api:
        create(api)
        assert stands(api, "failed", "dispatchers need the ConfigMap ion, which is not in the namespace")
        assert control.deployments() == {}
        control.configure()
        assert stands(api, "ready", ""), api.get("greet")


def test_running_jobs_of_a_deleted_module_come_to_their_end(control: Place, tmp_path: Path) -> None:
    """Their dispatcher stays until then, and goes afterwards."""
    gate = tmp_path / "gate"
    gate.mkdir()
    with control.managed() as api:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        raised(control, "hold_it", 1)
        assert waited(lambda: len(control.here.jobs("hold", State.RUNNING)) == 1, START_S)
        api.delete("hold")
        assert not waited(lambda: not control.deployments(), 3.0)
        (gate / "go").touch()
        assert waited(lambda: control.here.released("hold"), START_S)
        assert waited(lambda: not control.deployments(), START_S)


def test_each_module_has_its_own_and_those_of_other_providers_have_none(control: Place, tmp_path: Path) -> None:
    """By names that do not change with the modules' revisions."""
    with control.managed() as api:
        modules = (waits(tmp_path), waits(tmp_path, "other"), waits(tmp_path, "here", provider="local"))
        api.do(lambda management: management.modules.apply(modules=modules))
        assert waited(lambda: len(control.deployments()) == 2, START_S)
        generation = control.deployment("hold")["metadata"]["generation"]
        again = waits(tmp_path, timeout_s=60.0)
        api.do(lambda management: management.modules.apply(modules=(again,)))
        assert waited(lambda: api.get("other")[1] == "ready", START_S)
        assert sorted(control.deployments()) == ["ion-dispatcher-hold", "ion-dispatcher-other"]
        assert control.deployment("hold")["metadata"]["generation"] == generation
