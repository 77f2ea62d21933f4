"""The cluster, for all tests of this folder."""

from tests.cluster.cluster import cluster
from tests.cluster.installed import guarded_nats, installed

__all__ = ["cluster", "guarded_nats", "installed"]
