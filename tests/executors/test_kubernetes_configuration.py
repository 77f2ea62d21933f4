"""Finding the cluster: a kubeconfig may be anything, and may be put right while a dispatcher runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.errors import UnavailableError


def kubeconfig(cluster: Mapping[str, str] = {}, user: Mapping[str, Any] = {"token": "told"}) -> str:
    return json.dumps(
        {
            "current-context": "one",
            "clusters": [{"name": "one", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
            "users": [{"name": "one", "user": user}],
        }
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- a list",
        "users: [{name: one, user: {token: told: half",
        "clusters: null",
        '{"clusters": [], "contexts": [{"name": "one"}]}',
        kubeconfig({"certificate-authority": "not-there.pem"}),
        kubeconfig({"server": "https://[::1"}),
        kubeconfig(user={"auth-provider": {"name": "of another time"}}),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_said_until_it_can(tmp_path: Path, content: str) -> None:
    """Empty, half written, something else, or naming a file that is not there: it is looked at again later."""
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    api = Kubernetes(str(file))
    with pytest.raises(UnavailableError, match="no cluster is configured") as refused:
        await api.__aenter__()
    assert "told" not in str(refused.value)
    file.write_text(kubeconfig())
    async with api:
        assert api.server == "https://127.0.0.1:1"
