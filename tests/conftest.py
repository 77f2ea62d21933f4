"""The servers that several tests share, one of each kind a run; and which ports programs of tests do not take."""

import os

from tests.acceptance.store_servers import elsewhere, postgres
from tests.stores.mongo_server import mongo_server
from tests.stores.object_servers import azurite, seaweed, server

__all__ = ["azurite", "elsewhere", "mongo_server", "postgres", "seaweed", "server"]

os.environ |= {"ION_MANAGEMENT_PORT": "off", "ION_METRICS_PORT": "off"}
