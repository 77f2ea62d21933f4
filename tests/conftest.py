"""The servers that several tests share, one of each kind a run."""

from tests.acceptance.store_servers import elsewhere, postgres
from tests.stores.mongo_server import mongo_server
from tests.stores.object_servers import azurite, seaweed, server

__all__ = ["azurite", "elsewhere", "mongo_server", "postgres", "seaweed", "server"]
