"""The servers that several tests share, one of each kind a run; which ports programs of tests do not take; and how
property tests find their examples: the same at each run; with `ION_FUZZ` set, new ones, what failed first.
"""

import os

from hypothesis import HealthCheck, settings
from tests.acceptance.store_servers import elsewhere, postgres
from tests.stores.mongo_server import mongo_server
from tests.stores.object_servers import azurite, seaweed, server

__all__ = ["azurite", "elsewhere", "mongo_server", "postgres", "seaweed", "server"]

os.environ |= {"ION_MANAGEMENT_PORT": "off", "ION_METRICS_PORT": "off"}

settings.register_profile(
    "any machine",
    deadline=None,  # it may be busy
    derandomize="ION_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("any machine")
