"""Runs modules as Jobs of a Kubernetes cluster.

`KubernetesExecutor` is imported on first use: the pipeline file needs the settings alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.adapters.executors.kubernetes.executor import KubernetesExecutor

__all__ = ["KubernetesExecutor"]


def __getattr__(name: str) -> object:
    if name == "KubernetesExecutor":
        from ion.adapters.executors.kubernetes.executor import KubernetesExecutor

        return KubernetesExecutor
    raise AttributeError(name)
