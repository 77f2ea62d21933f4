"""On the cluster: whoever a module is, and however it locks what it leaves, its results are stored."""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.cluster.attempts import Place, on_cluster
from tests.cluster.borrowed import borrowed
from tests.cluster.cluster import Cluster
from tests.stores.seaweed import Seaweed

from ion.model.manifest import Manifest
from ion.ports.executor import Phase
from ion.testing.conformance.executor import final

LEAVES = """
umask 077
cd "$ION_DIR"
id -u
mkdir out/data/deep
echo mine > out/data/deep/mine.txt
echo '{"faces": 3}' > out/insights.json
echo '{"type": "found", "files": ["deep/mine.txt"]}' > out/events/1.json
busybox chmod 000 out/data/deep/mine.txt out/data/deep out/insights.json out/events/1.json
"""


def users(**roles: dict[str, Any]) -> dict[str, Any]:
    """A pod template with these security contexts."""
    template = borrowed()
    spec = template["spec"]
    spec["initContainers"].append({"name": "module"})
    for container in (*spec["initContainers"], *spec["containers"]):
        if container["name"] in roles:
            container["securityContext"] = roles[container["name"]]
    return template


@pytest.mark.parametrize(
    "roles",
    [
        pytest.param({"module": {"runAsUser": 12_345, "runAsGroup": 12_345}}, id="commit reads another user's"),
        pytest.param({"module": {"runAsUser": 0}}, id="commit reads what root locked"),
    ],
)
async def test_locked_results_are_stored(
    cluster: Cluster, seaweed: Seaweed, tmp_path: Path, roles: dict[str, Any]
) -> None:
    """By root with the one right to read, without any to change."""
    with on_cluster(cluster, seaweed, tmp_path, pod_template=users(**roles)) as place:
        await check(place, str(roles["module"]["runAsUser"]))


async def test_one_user_may_do_it_all(cluster: Cluster, seaweed: Seaweed, tmp_path: Path) -> None:
    """Where a namespace refuses root: as the page about the settings has it."""
    page = (Path(__file__).parents[2] / "docs" / "kubernetes-settings.md").read_text()
    (written,) = re.findall(r"(?ms)^```yaml\n(# restricted\.yaml\n.*?)^```", page)
    template = yaml.safe_load(written)["kubernetes"]["podTemplate"]
    with on_cluster(cluster, seaweed, tmp_path, pod_template=borrowed()) as place:
        await check(place, "1000", kubernetes={"podTemplate": template})


async def check(place: Place, user: str, **module: Any) -> None:
    """The module was that user, and everything that it left is stored."""
    async with place.open() as executor:
        status = await final(executor, await executor.submit(place.assignment(LEAVES, emits=("found",), **module)))
    assert status.phase is Phase.SUCCEEDED, status.failure
    assert status.manifest is not None
    assert (await place.stored(status.log)).decode().split()[-1] == user
    manifest = msgspec.json.decode(await place.stored(status.manifest.blob), type=Manifest)
    assert [(file.path, file.sha256) for file in manifest.files] == [
        ("deep/mine.txt", hashlib.sha256(b"mine\n").hexdigest())
    ]
    assert [insight.key for insight in manifest.insights] == ["faces"]
    assert [event.type for event in manifest.events] == ["found"]
