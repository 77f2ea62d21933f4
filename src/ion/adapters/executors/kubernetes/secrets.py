"""The secrets of modules, as the cluster has them. They are read here for one purpose: to be masked in logs (R8)."""

import base64
import time

from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.settings import KubernetesSettings, SecretKey
from ion.errors import NotFoundError, UnavailableError
from ion.model.module import Module

HELD_S = 10.0
"""For so long a module is held after one of its secrets was found missing, before it is looked for again."""


class ModuleSecrets:
    """Reads the values of modules' secrets, and remembers which were missing a moment ago."""

    def __init__(self, api: Kubernetes, namespace: str, settings: KubernetesSettings) -> None:
        self._api, self._namespace, self._settings = api, namespace, settings
        self._missing: dict[str, tuple[float, str]] = {}

    async def values(self, module: Module) -> tuple[str, ...]:
        """The values of the module's secrets. Raises UnavailableError, with what to do, where one is missing."""
        found = [await self._value(module, variable, name) for variable, name in sorted(module.secrets.items())]
        self._missing.pop(module.name, None)
        return tuple(found)

    def fault(self, module: Module) -> str:
        """One sentence about a secret that was missing just now; empty if none is known to be."""
        since_s, sentence = self._missing.get(module.name, (0.0, ""))
        return sentence if sentence and time.monotonic() - since_s < HELD_S else ""

    async def _value(self, module: Module, variable: str, name: str) -> str:
        where = self._settings.secrets.get(name) or SecretKey(secret=name)
        try:
            secret = await self._api.get(f"/api/v1/namespaces/{self._namespace}/secrets/{where.secret}")
            return base64.b64decode(secret["data"][where.key]).decode(errors="surrogateescape")
        except (NotFoundError, KeyError, ValueError) as error:
            sentence = (
                f"module {module.name} needs the secret {name!r} (as {variable}), and the namespace {self._namespace} "
                f"has no Secret {where.secret!r} with the key {where.key!r}: make it with "
                f"`kubectl create secret generic {where.secret} --from-literal={where.key}=...`"
            )
            self._missing[module.name] = (time.monotonic(), sentence)
            raise UnavailableError(sentence) from error
