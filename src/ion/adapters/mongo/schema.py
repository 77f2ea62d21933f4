"""The collections, their shard keys and indexes; made once, however many processes begin together.

Making an index that is there already does nothing, so whoever finds an older version makes all of them and then writes
the version down. Sorts name an index from its first field on, as Azure Cosmos DB wants it; no index is partial.

A job stands in a `place`, in the order of its `rank`; which ones there are tells `ion.adapters.ledger.mongo_rows`.
"""

from typing import Any

from ion.errors import UnsupportedError

VERSION = 2

JOBS, FLOWS, RECORDS, PARTS = "jobs", "flows", "records", "parts"
MODULES, HEALTH, REVISIONS, LINES = "registry", "health", "revisions", "lines"
OWNERS, RESERVATIONS, ACTIONS, NEWS, META = "owners", "reservations", "actions", "news", "meta"
TRAIL = "trail"

SHARD_KEYS: dict[str, str] = {
    JOBS: "shard",
    RECORDS: "correlation_id",
    PARTS: "correlation_id",
    **dict.fromkeys(
        (FLOWS, MODULES, HEALTH, REVISIONS, LINES, OWNERS, RESERVATIONS, ACTIONS, NEWS, META, TRAIL), "_id"
    ),
}
"""The field by which each collection is spread; every write names its value."""

BY_MODULE = (("module", 1), ("place", 1), ("rank", 1))
BY_OWNER = (("place", 1), ("owner", 1), ("rank", 1))
IN_PLACE = (("place", 1), ("seq", 1))
BY_FLOW = (("flow", 1), ("place", 1), ("module", 1))
IN_FLOW = (("flow", 1), ("seq", 1))
BY_EVENT = (("event_id", 1), ("seq", 1))
BY_SEQ = (("seq", 1),)
IN_TRAIL = (("at", 1), ("seq", 1))

Index = tuple[tuple[str, int], ...]

INDEXES: dict[str, tuple[Index, ...]] = {
    JOBS: (BY_MODULE, BY_OWNER, IN_PLACE, BY_FLOW, IN_FLOW, BY_EVENT, BY_SEQ),
    FLOWS: (BY_SEQ,),
    ACTIONS: ((("subject", 1),),),
    TRAIL: (IN_TRAIL,),
    RECORDS: (
        (("correlation_id", 1), ("seq", 1)),
        BY_EVENT,
        (("name", 1), ("seq", 1)),
        (("kind", 1), ("seq", 1)),
        BY_SEQ,
    ),
}


async def prepare(database: Any, *, cosmos: bool) -> None:
    """Makes what is missing.

    Raises:
        UnsupportedError: A newer Ion has made it.
    """
    found = await database[META].find_one({"_id": "schema"})
    version = found["version"] if found else 0
    if version > VERSION:
        raise UnsupportedError(
            f"the database {database.name} was made by a newer Ion (version {version} of it; this one knows {VERSION});"
            " use that Ion"
        )
    if version == VERSION:
        return
    if cosmos:
        await _spread(database)
    for collection, indexes in INDEXES.items():
        for index in indexes:
            await database[collection].create_index(list(index))
    await database[META].update_one({"_id": "schema"}, {"$max": {"version": VERSION}}, upsert=True)


async def _spread(database: Any) -> None:
    """Makes the collections with their shard keys; one that is there keeps the key it has."""
    from pymongo.errors import OperationFailure

    from ion.adapters.mongo.errors import NO_SUCH_COMMAND

    present = set(await database.list_collection_names())
    for collection, key in SHARD_KEYS.items():
        if collection in present:
            continue
        try:
            await database.client.admin.command("shardCollection", f"{database.name}.{collection}", key={key: "hashed"})
        except OperationFailure as error:
            if error.code != NO_SUCH_COMMAND:
                raise
            return  # one machine: there is nothing to spread over
