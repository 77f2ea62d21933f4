"""Making what an attempt consists of: its Secret, then its Job, under a ConfigMap that stands for the module.

All of it is named after the attempt, so whoever makes it a second time finds the first. The ConfigMap is what
Kubernetes takes for the owner of the Jobs: it stays while dispatchers come and go, and deleting it takes all of them
along.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ion.adapters.executors.backoff import RefusedError
from ion.adapters.executors.kubernetes.client import Document, Kubernetes
from ion.adapters.executors.kubernetes.names import (
    ATTEMPT,
    COMPONENT,
    JOB,
    MODULE,
    instance_labels,
    job_labels,
    job_name,
    label_value,
    module_config,
    selector,
)
from ion.adapters.executors.kubernetes.pod import job_body
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.errors import ExistsError, InvalidError, NotFoundError, UnavailableError
from ion.model.module import Module
from ion.ports.executor import Assignment, Handle

_FORBIDDEN: Final = 403


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What opens the blobs for prepare and commit, as JSON; `lasts_s` in seconds, None for ever. Masked in `repr`."""

    content: str
    lasts_s: float | None

    def __repr__(self) -> str:
        return f"Credential(content='***', lasts_s={self.lasts_s!r})"


Credentials = Callable[[Assignment], Awaitable[Credential]]
"""Grants what an attempt needs of the blobs. Raises UnavailableError: whoever grants it is away."""


class Making:
    """Makes and deletes the objects of attempts in one namespace. `ledger` marks them; safe to call concurrently."""

    def __init__(self, api: Kubernetes, namespace: str, settings: KubernetesSettings, ledger: str) -> None:
        self._api, self._namespace, self._settings = api, namespace, settings
        self._ledger = label_value(ledger)
        self.selector = selector(instance_labels(settings.instance, self._ledger))
        """What is of this ledger."""
        self._owners: dict[str, str] = {}
        self._making_owner = asyncio.Lock()

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods"

    @property
    def jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self._namespace}/jobs"

    @property
    def secrets(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets"

    def name(self, handle: Handle) -> str:
        """Of the Job and the Secret of an attempt."""
        return job_name(handle.job, handle.attempt, self._ledger)

    async def find(self, handle: Handle) -> Document | None:
        """The Job of an attempt, if there is one."""
        try:
            return await self._api.get(f"{self.jobs}/{self.name(handle)}")
        except NotFoundError:
            return None

    async def has_more(self, handle: Handle, pods: Sequence[Document]) -> bool:
        """Whether an attempt has other pods than these."""
        which = f"{self.selector},{selector({JOB: label_value(handle.job), ATTEMPT: str(handle.attempt)})}"
        found, _ = await self._api.list(self.pods, which, whole=False)
        return not {pod["metadata"]["uid"] for pod in found} <= {pod["metadata"]["uid"] for pod in pods}

    async def make(self, assignment: Assignment, credential: Credential) -> tuple[Document, bool]:
        """Makes whatever of the attempt is not there yet.

        Returns:
            Its Job, and whether that is new.

        Raises:
            InvalidError: Kubernetes will never take it. UnavailableError: not now.
        """
        try:
            return await self._make(assignment, credential)
        except NotFoundError as error:
            self.forget_owner(assignment.revision.module)
            raise UnavailableError(f"{error}; is there a namespace {self._namespace}?") from error

    async def _make(self, assignment: Assignment, credential: Credential) -> tuple[Document, bool]:
        owner = await self._owner(assignment.revision.module)
        secret, body = self.documents(assignment, credential, owner)
        try:
            await self._api.create(self.secrets, secret)
        except ExistsError:
            await self.renew(assignment, credential)
        try:
            return await self._api.create(self.jobs, body), True
        except ExistsError:
            return await self._api.get(f"{self.jobs}/{body['metadata']['name']}"), False

    def documents(
        self, assignment: Assignment, credential: Credential, owner_uid: str = ""
    ) -> tuple[Document, Document]:
        """The Secret and the Job of an attempt. Raises InvalidError for what can never be."""
        namespace, ledger = self._namespace, self._ledger
        body = job_body(assignment, self._settings, namespace=namespace, owner_uid=owner_uid, ledger=ledger)
        return self._secret(assignment, credential), body

    async def why_podless(self, job: Document) -> str:
        """What the cluster says about a Job that has no pod: a quota, perhaps. Empty if it says nothing."""
        which = f"involvedObject.uid={job['metadata']['uid']},reason=FailedCreate"
        path = f"/api/v1/namespaces/{self._namespace}/events"
        found = (await self._api.get(path, {"fieldSelector": which})).get("items") or ()
        return str(found[-1].get("message", "")) if found else ""

    async def renew(self, assignment: Assignment, credential: Credential) -> None:
        """Gives the attempt another credential. Raises NotFoundError if it is gone."""
        name = job_name(assignment.job.id, assignment.job.attempt, self._ledger)
        await self._api.patch(f"{self.secrets}/{name}", {"stringData": {"blobs.json": credential.content}})

    async def end(self, handle: Handle, pods: Sequence[Document]) -> None:
        """Ends an attempt, with its grace.

        Of these pods the module runs: their time is over now. So they stay when they have ended, and what the module
        said last can be read until the Job is deleted; a node that is told to delete a pod may clear its log away at
        once. All else is deleted with the Job, which stays until it has gone.
        """
        if not await self._time_out(pods):
            await self._api.delete(f"{self.jobs}/{self.name(handle)}", foreground=True)

    async def _time_out(self, pods: Sequence[Document]) -> bool:
        """Whether there are any, and each took it: one may be gone, and an older role of Ion's lacks the right."""
        try:
            for pod in pods:
                path = f"{self.pods}/{pod['metadata']['name']}"
                await self._api.patch(path, {"spec": {"activeDeadlineSeconds": 1}})
        except (NotFoundError, InvalidError):
            return False
        except RefusedError as error:
            if error.status != _FORBIDDEN:
                raise
            return False
        return bool(pods)

    async def delete(self, handle: Handle) -> None:
        """Deletes all of an attempt."""
        name = self.name(handle)
        await asyncio.gather(self._api.delete(f"{self.jobs}/{name}"), self._api.delete(f"{self.secrets}/{name}"))

    def _secret(self, assignment: Assignment, credential: Credential) -> Document:
        job = assignment.job
        labels = job_labels(job, self._settings.instance, self._ledger)
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": job_name(job.id, job.attempt, self._ledger),
                "namespace": self._namespace,
                "labels": labels,
            },
            "type": "Opaque",
            "stringData": {
                "assignment.json": msgspec.json.encode(assignment).decode(),
                "blobs.json": credential.content,
            },
        }

    async def _owner(self, module: Module) -> str:
        """The uid of the module's ConfigMap."""
        name = module_config(module.group, self._settings.instance)
        async with self._making_owner:
            if name not in self._owners:
                self._owners[name] = await self._find_owner(name, module)
        return self._owners[name]

    async def _find_owner(self, name: str, module: Module) -> str:
        configs = f"/api/v1/namespaces/{self._namespace}/configmaps"
        try:
            found = await self._api.get(f"{configs}/{name}")
        except NotFoundError:
            labels = {**instance_labels(self._settings.instance), COMPONENT: "module", MODULE: label_value(module.name)}
            body = {"metadata": {"name": name, "namespace": self._namespace, "labels": labels}, "data": {}}
            try:
                found = await self._api.create(configs, {"apiVersion": "v1", "kind": "ConfigMap", **body})
            except ExistsError:
                found = await self._api.get(f"{configs}/{name}")
        return str(found["metadata"]["uid"])

    def forget_owner(self, module: Module) -> None:
        """Its ConfigMap may have been deleted: it is looked for again."""
        self._owners.pop(module_config(module.group, self._settings.instance), None)
