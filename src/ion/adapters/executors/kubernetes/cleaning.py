"""What of earlier attempts is in the cluster: found by its labels, whoever made it."""

import base64

import msgspec

from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.making import Making
from ion.adapters.executors.kubernetes.names import handle_of
from ion.adapters.executors.kubernetes.pods import created_s
from ion.errors import NotFoundError
from ion.ports.executor import Assignment, Handle

JOBLESS_S = 600.0
"""A Secret without a Job may be of an attempt that is just being made; after so long it is a leftover."""


class Leftovers:
    """Looks for attempts of one scope. Those of other ledgers are left out: they are not ours to judge."""

    def __init__(self, api: Kubernetes, making: Making, scope: str) -> None:
        self._api, self._making, self._scope = api, making, scope

    async def handles(self) -> list[Handle]:
        """Every attempt that has a Job, or has had a Secret for long."""
        jobs, _ = await self._api.list(self._making.jobs, self._making.selector, whole=False)
        secrets, _ = await self._api.list(self._making.secrets, self._making.selector, whole=False)
        secrets = [one for one in secrets if self._api.now_s() - created_s(one) > JOBLESS_S]
        ours = [one["metadata"]["labels"] for one in (*jobs, *secrets)]
        found = (handle_of(labels, self._scope) for labels in ours)
        return list(dict.fromkeys(handle for handle in found if handle is not None))

    async def assignment(self, handle: Handle) -> Assignment | None:
        """What was assigned to an attempt that has a Job, by its Secret; None where one of them is gone."""
        if await self._making.find(handle) is None:
            return None
        try:
            secret = await self._api.get(f"{self._making.secrets}/{self._making.name(handle)}")
            return msgspec.json.decode(base64.b64decode(secret["data"]["assignment.json"]), type=Assignment)
        except (NotFoundError, KeyError, ValueError):
            return None
