"""Deployments of dispatchers on the real cluster, by the port's own verbs; and a control loop whose cluster is away."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yaml
from tests.buses.proxy import Proxy
from tests.cluster.attempts import until
from tests.cluster.control_place import Place, control, waits

from ion.adapters.deployments.kubernetes import KubernetesDeployments
from ion.config.load import load_pipeline
from ion.errors import ConflictError, InvalidError, UnavailableError
from ion.management.control.control import Control
from ion.management.control.scale import Policy
from ion.management.local.management import LocalManagement
from ion.model.retention import Retention
from ion.ports.deployments import Wanted
from ion.wiring import open_store

__all__ = ["control"]

WANTED = Wanted(module="detect", environment={"A": "1"}, replicas=0, most=5, basis="b")


@asynccontextmanager
async def deploying(place: Place, kubeconfig: Path | None = None) -> AsyncIterator[KubernetesDeployments]:
    """By the account of management."""
    file = place.here.path / "cluster.yaml"
    settings = load_pipeline(file, environ=place.secrets, settings_only=True).settings.cluster
    settings = msgspec.structs.replace(settings, kubeconfig=str(kubeconfig or place.kubeconfig))
    assert settings.dispatchers is not None
    async with KubernetesDeployments(settings, settings.dispatchers) as deployments:
        yield deployments


async def test_applying_again_changes_nothing(control: Place) -> None:
    """And anything else does; what is no longer said of the environment is gone."""
    async with deploying(control) as deployments:
        first = await deployments.apply(WANTED)
        assert await deployments.apply(WANTED) == first
        assert [(one.module, one.replicas, one.version) for one in await deployments.list()] == [("detect", 0, first)]
        more = msgspec.structs.replace(WANTED, replicas=1, environment={"B": "2"})
        assert await deployments.apply(more) != first
        found = await deployments.get("detect")
        assert found is not None
        assert (found.replicas, found.standing in ("deploying", "failed")) == (1, True)
        config = json.loads(control.kubectl("get", "configmap", "ion-dispatcher-detect", "-o", "json"))
        assert config["data"] == {"B": "2"}


async def test_what_is_not_there_is_none(control: Place) -> None:
    """Deleting it again is no error; the second Deployment of a module is another one."""
    async with deploying(control) as deployments:
        assert await deployments.get("detect") is None
        assert await deployments.delete("detect") is False
        first = await deployments.apply(WANTED)
        assert await deployments.delete("detect") is True
        await until(lambda: not control.deployments())
        assert await deployments.apply(WANTED) != first


async def test_the_deployment_of_somebody_else_is_left_alone(control: Place) -> None:
    """Its name is ours by chance: that is said, and nothing is changed or deleted."""
    control.kubectl("create", "deployment", "ion-dispatcher-detect", "--image=theirs:1", "--replicas=0")
    before = control.deployment("detect")
    async with deploying(control) as deployments:
        assert await deployments.list() == []
        for verb in (deployments.apply(WANTED), deployments.get("detect"), deployments.delete("detect")):
            with pytest.raises(ConflictError, match="the Deployment ion-dispatcher-detect is not of the module detect"):
                await verb
    after = control.deployment("detect")
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])


async def test_the_basis_follows_what_dispatchers_read(control: Place) -> None:
    """The file and the connections; a label of the ConfigMap is none of it."""
    async with deploying(control) as deployments:
        first = await deployments.basis()
        control.kubectl("label", "configmap", "ion", "a=b")
        assert await deployments.basis() == first
        control.kubectl("patch", "secret", "ion-connections", "-p", '{"stringData": {"MORE": "of it"}}')
        second = await deployments.basis()
        assert second != first
        control.kubectl("patch", "configmap", "ion", "-p", '{"data": {"ion.yaml": "ion: 1"}}')
        assert await deployments.basis() not in (first, second)
        control.kubectl("patch", "configmap", "ion", "--type=json", "-p", '[{"op": "remove", "path": "/data"}]')
        with pytest.raises(InvalidError, match=r"the ConfigMap ion has no key ion\.yaml: put the pipeline file there"):
            await deployments.basis()


async def test_a_right_that_is_missing_is_named(control: Place) -> None:
    """With what to do."""
    control.kubectl("delete", "rolebinding", "ion-management")
    async with deploying(control) as deployments:
        for verb in (deployments.list(), deployments.apply(WANTED), deployments.basis()):
            with pytest.raises(UnavailableError, match=r"is forbidden: .*; give Ion's service account that right"):
                await verb


async def test_a_cluster_that_is_away_is_waited_for(control: Place, tmp_path: Path) -> None:
    """A module is registered meanwhile, and how it stands is told; its dispatchers come once the cluster is back."""
    config = yaml.safe_load(control.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    async with Proxy(urllib.parse.urlsplit(cluster["server"]).port or 0) as proxy:
        cluster["server"] = f"https://127.0.0.1:{proxy.port}"
        (tmp_path / "proxied").write_text(yaml.safe_dump(config))
        settings = load_pipeline(
            control.here.path / "cluster.yaml", environ=control.secrets, settings_only=True
        ).settings
        async with (
            open_store(control.here.store, settings) as stores,
            deploying(control, tmp_path / "proxied") as deployments,
        ):
            policy = Policy(least=0, most=1, per_replica=1, down_after_s=60.0)
            kept = Control(stores.ledger, deployments, policy, provider="kubernetes")
            management = LocalManagement(
                stores, actor="me", work=None, retention=Retention(), place="here", control=kept
            )
            proxy.cut()
            loop = asyncio.create_task(kept.run(), name="control")
            await management.modules.apply(modules=(waits(tmp_path),))
            state = await management.modules.get(name="hold")
            assert (state.standing, "does not answer" in state.message) == ("unknown", True)
            proxy.mend()
            await until(lambda: "ion-dispatcher-hold" in control.deployments())
            assert (await management.modules.get(name="hold")).standing == "idle"
            loop.cancel()
            await asyncio.wait([loop])
