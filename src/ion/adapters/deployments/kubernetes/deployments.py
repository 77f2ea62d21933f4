"""Deployments of dispatchers in one namespace of a cluster.

They are applied on the server's side, under a manager's name of their own: what is there already is left alone, what
somebody changed by hand is put right, and what is no longer said goes away.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from ion.adapters.deployments.kubernetes.manifest import (
    FILE,
    MANAGEMENT,
    MODULE_NAME,
    deployment,
    environment,
    labels_of,
    name_of,
    scaled_object,
)
from ion.adapters.deployments.kubernetes.reading import deployed, version_of
from ion.adapters.deployments.kubernetes.settings import DispatchersSettings
from ion.adapters.executors.kubernetes.client import Document, Kubernetes
from ion.adapters.executors.kubernetes.names import MODULE, label_value, selector
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from ion.ports.deployments import Deployed, Deployments, Wanted


class KubernetesDeployments(Deployments):
    """See `Deployments`. `settings` are the cluster's, `said` what they say of dispatchers."""

    def __init__(self, settings: KubernetesSettings, said: DispatchersSettings) -> None:
        self._settings, self._said = settings, said
        self._api = Kubernetes(settings.kubeconfig, settings.context)
        self._has_keda: bool | None = None

    async def __aenter__(self) -> Self:
        """Raises UnavailableError: no cluster is configured."""
        await self._api.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.__aexit__()

    async def basis(self) -> str:
        digest, config = hashlib.sha256(), self._said.config_map
        with self._needed("ConfigMap", config):
            found = await self._api.get(f"{self._core}/configmaps/{config}")
        content = (found.get("data") or {}).get(FILE)
        if content is None:
            raise InvalidError(f"the ConfigMap {config} has no key {FILE}: put the pipeline file there")
        digest.update(content.encode())
        if self._said.secret:
            with self._needed("Secret", self._said.secret):
                about = await self._api.about(f"{self._core}/secrets/{self._said.secret}")
            digest.update(f"{about['uid']}/{about['resourceVersion']}".encode())
        return digest.hexdigest()[:16]

    async def list(self) -> Sequence[Deployed]:
        found, _ = await self._api.list(self._deployments, selector(labels_of(self._settings.instance)))
        return sorted((deployed(one) for one in found), key=lambda one: one.module)

    async def get(self, module: str) -> Deployed | None:
        found = await self._find(module)
        if found is None:
            return None
        labels = {**labels_of(self._settings.instance), MODULE: label_value(module)}
        pods, _ = await self._api.list(f"{self._core}/pods", selector(labels))
        return deployed(found, pods)

    async def apply(self, wanted: Wanted) -> str:
        await self._find(wanted.module)
        scaled = await self._is_scaled()
        body = deployment(wanted, self._settings, self._said, self._namespace, scaled=scaled)
        name = body["metadata"]["name"]
        try:
            made = await self._api.apply(f"{self._deployments}/{name}", body, MANAGEMENT)
            config = environment(wanted, self._settings, made)
            await self._api.apply(f"{self._core}/configmaps/{name}", config, MANAGEMENT)
            if scaled:
                scaler = scaled_object(wanted, self._settings, self._said, made)
                await self._api.apply(f"{self._scaled_objects}/{name}", scaler, MANAGEMENT)
        except NotFoundError as error:
            raise UnavailableError(f"{error}; is there a namespace {self._namespace}?") from error
        return version_of(made)

    async def delete(self, module: str) -> bool:
        found = await self._find(module)
        if found is None:
            return False
        about = found["metadata"]
        return await self._api.delete(f"{self._deployments}/{about['name']}", uid=about["uid"])

    async def _find(self, module: str) -> Document | None:
        """The module's Deployment. Raises ConflictError: that of its name is not ours."""
        name = name_of(module, self._settings.instance)
        try:
            found = await self._api.get(f"{self._deployments}/{name}")
        except NotFoundError:
            return None
        about = found["metadata"]
        ours = labels_of(self._settings.instance).items() <= (about.get("labels") or {}).items()
        if not ours or (about.get("annotations") or {}).get(MODULE_NAME) != module:
            raise ConflictError(f"the Deployment {name} is not of the module {module}: rename it, or set `instance`")
        return found

    async def _is_scaled(self) -> bool:
        """Whether KEDA does it: it was told where the figures are, and is there. Looked for once."""
        if self._has_keda is None:
            try:
                self._has_keda = bool(self._said.figures and await self._api.get("/apis/keda.sh"))
            except NotFoundError:
                self._has_keda = False
        return self._has_keda

    @contextmanager
    def _needed(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except NotFoundError as error:
            raise InvalidError(
                f"dispatchers need the {what} {name}, which is not in the namespace {self._namespace}: make it"
            ) from error

    @property
    def _namespace(self) -> str:
        return self._settings.namespace or self._api.namespace

    @property
    def _core(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}"

    @property
    def _scaled_objects(self) -> str:
        return f"/apis/keda.sh/v1alpha1/namespaces/{self._namespace}/scaledobjects"

    @property
    def _deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/deployments"
