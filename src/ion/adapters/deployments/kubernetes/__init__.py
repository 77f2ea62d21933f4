"""Dispatchers as Deployments of a Kubernetes cluster.

`KubernetesDeployments` is imported on first use: the pipeline file needs the settings alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.adapters.deployments.kubernetes.deployments import KubernetesDeployments

__all__ = ["KubernetesDeployments"]


def __getattr__(name: str) -> object:
    if name == "KubernetesDeployments":
        from ion.adapters.deployments.kubernetes.deployments import KubernetesDeployments

        return KubernetesDeployments
    raise AttributeError(name)
