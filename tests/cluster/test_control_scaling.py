"""The control plane on the cluster: as many dispatchers as there is work for, and new ones for other settings."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.buses.nats_server import NatsServer
from tests.cluster.control_place import START_S, Place, control, dispatcher_template, raised, waits
from tests.ports import free_port
from tests.waiting import waited

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.model.event import Event
from ion.model.job import State
from ion.testing.conformance.bus_harness import made

__all__ = ["control"]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Jobs end once there is a file `go` in it."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def test_dispatchers_follow_the_queue_down_to_none_and_up_again(control: Place, gate: Path) -> None:
    """One for each two jobs, three at most; none when all is done; one at once when a job comes by the front API."""
    control.configure(replicas={"min": 0, "max": 3, "downAfter": "5s"}, perReplica=2)
    with control.managed() as api, control.front() as front:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        assert waited(lambda: "ion-dispatcher-hold" in control.deployments(), START_S)
        assert control.replicas("hold") == 0
        idle = ("idle", "no dispatcher runs while there is nothing to do")
        assert waited(lambda: api.get("hold")[1:] == idle, START_S), api.get("hold")
        raised(control, "hold_it", 1)
        assert waited(lambda: control.replicas("hold") == 1, START_S)
        raised(control, "hold_it", 8)
        assert waited(lambda: control.replicas("hold") == 3, START_S)
        assert waited(lambda: len(control.here.jobs("hold", State.RUNNING)) == 9, START_S)
        assert waited(lambda: len(api.do(lambda m: m.modules.get(name="hold")).served_by) == 3, START_S)
        (gate / "go").touch()
        assert waited(lambda: control.here.released("hold", 9), START_S)
        assert waited(lambda: control.replicas("hold") == 0, START_S)
        assert waited(lambda: not control.pods("hold"), START_S)
        assert httpx.post(f"{front}/events/hold_it", files={"a": ("a.txt", b"a")}, timeout=120.0).status_code == 200
        assert waited(lambda: control.here.released("hold", 10), START_S)


def test_two_managements_agree(control: Place, gate: Path) -> None:
    """What one has decided the other does not undo: the number goes up and down once."""
    control.configure(replicas={"min": 0, "max": 3, "downAfter": "5s"}, perReplica=1)
    with control.managed() as api, control.managed():
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        raised(control, "hold_it", 3)
        assert waited(lambda: control.replicas("hold") == 3, START_S)
        (gate / "go").touch()
        assert waited(lambda: control.here.released("hold", 3), START_S)
        assert waited(lambda: control.replicas("hold") == 0, START_S)
        assert waited(lambda: not control.pods("hold"), START_S)
        assert control.deployment("hold")["metadata"]["generation"] <= len((0, 1, 2, 3, 2, 1, 0))


def test_without_keda_it_scales_by_itself_and_tells_the_figures(control: Place, gate: Path) -> None:
    """The settings may say where they are, and the cluster not have it."""
    port = free_port()
    control.configure(figures=f"http://127.0.0.1:{port}", replicas={"min": 0, "max": 1})
    with control.managed("--metrics-port", str(port)) as api:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        assert waited(lambda: api.get("hold")[1] == "idle", START_S)
        figures = f"http://127.0.0.1:{port}/open"
        assert httpx.get(f"{figures}/hold", timeout=120.0).json() == {"open": 0}
        assert httpx.get(f"{figures}/other", timeout=120.0).status_code == 404
        raised(control, "hold_it", 3)
        assert waited(lambda: httpx.get(f"{figures}/hold", timeout=120.0).json() == {"open": 3}, START_S)
        assert waited(lambda: control.replicas("hold") == 1, START_S)


def test_an_event_from_outside_of_ion_brings_a_dispatcher(control: Place, gate: Path, tmp_path: Path) -> None:
    """It is on the bus alone, which nobody but management listens to while there is no dispatcher."""
    (gate / "go").touch()
    with NatsServer(tmp_path / "nats") as server:
        control.settings["bus"] = {"kind": "nats", "servers": server.url}
        control.configure(replicas={"min": 0, "max": 1})
        with control.managed() as api:
            api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
            assert waited(lambda: api.get("hold")[1] == "idle", START_S)
            asyncio.run(published(server.url, made("hold_it")))
            assert waited(lambda: control.here.released("hold"), START_S)


async def published(url: str, event: Event) -> None:
    async with NatsBus(NatsSettings(servers=(url,))) as bus:
        await bus.publish([event])


def test_a_change_of_ions_settings_starts_dispatchers_anew(control: Place, gate: Path) -> None:
    """With the new ones ready before the old ones go, and a job that runs meanwhile is not run again."""
    with control.managed() as api:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        assert waited(lambda: api.get("hold")[1] == "ready", START_S)
        (before,) = control.pods("hold")
        raised(control, "hold_it", 1)
        assert waited(lambda: len(control.here.jobs("hold", State.RUNNING)) == 1, START_S)
        control.settings["guards"] = {"max_hops": 7}
        control.configure()
        assert waited(lambda: names(control) != [before["metadata"]["name"]] and len(names(control)) == 1, START_S)
        (gate / "go").touch()
        assert waited(lambda: control.here.released("hold"), START_S)
        (job,) = control.here.jobs("hold")
        assert job.attempt == 1


def test_other_connections_start_dispatchers_anew(control: Place, gate: Path) -> None:
    """They are variables, which a program reads once."""
    with control.managed() as api:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        assert waited(lambda: api.get("hold")[1] == "ready", START_S)
        before = names(control)
        control.kubectl("patch", "secret", "ion-connections", "-p", '{"stringData": {"MORE": "of it"}}')
        assert waited(lambda: names(control) != before and len(names(control)) == 1, START_S)


def names(control: Place) -> list[str]:
    return [pod["metadata"]["name"] for pod in control.pods("hold")]


def test_a_dispatcher_is_ready_while_it_reaches_its_ledger(control: Place, gate: Path) -> None:
    """By the probes that every Deployment has; it runs as nobody on a root that it cannot write."""
    port = free_port()
    page = {"ports": [{"$patch": "replace"}, {"name": "metrics", "containerPort": port}]}
    template = dispatcher_template(**page)
    template["spec"]["containers"][0]["env"].append({"name": "ION_METRICS_PORT", "value": str(port)})
    control.configure(podTemplate=template)
    with control.managed() as api:
        api.do(lambda management: management.modules.apply(modules=(waits(gate),)))
        assert waited(lambda: api.get("hold")[1] == "ready", START_S), api.get("hold")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=120.0).json() == {"status": "ok"}
        assert (
            'ion_module_standing{module="hold",standing="ready"} 1.0'
            in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=120.0).text
        )
        (pod,) = control.pods("hold")
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        control.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "test ! -w / && id -u | grep -v '^0$'")
