"""What is applied and who serves it: modules with their revisions and health, and owners with their beats.

The registered modules stand in one document, so that several change together or none does. Revisions, which never
change, are written before the document that names them. Health is counted beside it, where it disturbs nobody.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ion.adapters.ledger.history import APPLIED, REMOVED
from ion.adapters.ledger.rows import text
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import ACTIONS, HEALTH, MODULES, OWNERS, REVISIONS
from ion.errors import ConflictError, NotFoundError
from ion.model.job import Failure, FailureClass
from ion.model.module import Revision
from ion.ports.ledger import Health, Owner, Registered

_REGISTRY = "modules"
_EMPTY: Document = {"_id": _REGISTRY, "rev": 0, "modules": []}
_owner = msgspec.json.Decoder(Owner)
_revision = msgspec.json.Decoder(Revision)


async def note_action(database: MongoDatabase, actor: str, action: str, subject: str, now: float) -> None:
    """Keeps who did what."""
    seq = database.next_place()
    entry = {"_id": seq, "seq": seq, "at": now, "actor": actor, "action": action, "subject": subject}
    await database.insert(ACTIONS, [entry])


# ---- modules ----------------------------------------------------------------------------------------------------


async def registry(database: MongoDatabase) -> Document:
    """The registry: `rev`, and `modules`, each with `name`, `pipeline`, `revision` and `paused`."""
    return await database.get(MODULES, _REGISTRY) or _EMPTY


def entry_of(registry: Document, module: str) -> Document | None:
    """A module's part of the registry."""
    return next((entry for entry in registry["modules"] if entry["name"] == module), None)


async def _change(database: MongoDatabase, decide: Callable[[dict[str, Document]], Any]) -> Any:
    """Changes the registry as `decide` says, to whom modules are given by name; its answer, falsy for no change."""
    while True:
        present = await registry(database)
        entries = {entry["name"]: dict(entry) for entry in present["modules"]}
        answer = decide(entries)
        if not answer:
            return answer
        new = {"_id": _REGISTRY, "rev": present["rev"] + 1, "modules": [entries[name] for name in sorted(entries)]}
        if await database.swap(MODULES, present if present["rev"] else {}, new):
            return answer


async def apply(database: MongoDatabase, revisions: Sequence[Revision], actor: str, now: float) -> Sequence[str]:
    """Registers modules or their new revisions; see `Ledger.apply`."""

    def decide(entries: dict[str, Document]) -> list[Revision]:
        return [revision for revision in revisions if _applied(entries, revision)]

    known = await registry(database)
    fresh = decide({entry["name"]: dict(entry) for entry in known["modules"]})
    await database.insert(
        REVISIONS,
        [
            {
                "_id": _revision_key(one.module.name, one.id),
                "seq": database.next_place(),
                "at": now,
                "actor": actor,
                "body": text(one),
            }
            for one in fresh
        ],
    )
    changed: list[Revision] = await _change(database, decide)
    for revision in changed:
        if entry_of(known, revision.module.name) is None:  # what went wrong before it was removed is forgotten
            await _forget_health(database, revision.module.name)
        await note_action(database, actor, APPLIED + revision.id, revision.module.name, now)
    return tuple(dict.fromkeys(revision.module.name for revision in changed))


def _applied(entries: dict[str, Document], revision: Revision) -> bool:
    module = revision.module
    present = entries.get(module.name)
    if present is not None and present["pipeline"] != module.pipeline:
        raise ConflictError(
            f"the module {module.name} belongs to the pipeline {present['pipeline'] or '(unnamed)'};"
            " give this one another name"
        )
    if present is not None and present["revision"] == revision.id:
        return False
    paused = present["paused"] if present else False
    entries[module.name] = {
        "name": module.name,
        "pipeline": module.pipeline,
        "revision": revision.id,
        "paused": paused,
    }
    return True


async def remove(database: MongoDatabase, module: str, actor: str, now: float) -> bool:
    """Removes a module; see `Ledger.remove`."""
    if not await _change(database, lambda entries: entries.pop(module, None)):
        return False
    await _forget_health(database, module)
    await note_action(database, actor, REMOVED, module, now)
    return True


async def pause_module(database: MongoDatabase, module: str, *, paused: bool, actor: str, now: float) -> None:
    """Stops or starts a module's claims; see `Ledger.pause_module`."""

    def decide(entries: dict[str, Document]) -> bool:
        if module not in entries:
            raise NotFoundError(f"there is no module {module}; apply its pipeline first")
        entries[module]["paused"] = paused
        return True

    await _change(database, decide)
    if not paused:
        await _forget_health(database, module)
    await note_action(database, actor, "pause" if paused else "start", module, now)


async def modules(database: MongoDatabase, now: float) -> Sequence[Registered]:
    """The registered modules, by name."""
    entries = (await registry(database))["modules"]
    keys = {entry["name"]: _revision_key(entry["name"], entry["revision"]) for entry in entries}
    revisions = await database.find_by_id(REVISIONS, list(keys.values()))
    health = await database.find_by_id(HEALTH, list(keys))
    return tuple(
        Registered(
            revision=_revision.decode(revisions[keys[entry["name"]]]["body"]),
            paused=entry["paused"],
            health=_health(health.get(entry["name"]), now),
        )
        for entry in entries
    )


def _health(document: Document | None, now: float) -> Health:
    if document is None:
        return Health()
    return Health(
        dead_in_row=document["dead"], trouble_in_row=document["trouble"], quiet_s=abs(now - document["failed_at"])
    )


async def revision(database: MongoDatabase, module: str, key: str) -> Revision:
    """A revision that was once applied; see `Ledger.revision`."""
    document = (await database.find_by_id(REVISIONS, [_revision_key(module, key)])).get(_revision_key(module, key))
    if document is None:
        raise NotFoundError(f"the module {module} never had a revision {key}; apply its pipeline again")
    return _revision.decode(document["body"])


def _revision_key(module: str, revision: str) -> str:
    return f"{module}/{revision}"


async def _forget_health(database: MongoDatabase, module: str) -> None:
    await database.call(lambda: database.collection(HEALTH).delete_one({"_id": module}))


async def note_success(database: MongoDatabase, module: str) -> None:
    """A module's job succeeded."""
    await database.call(
        lambda: database.collection(HEALTH).update_one(
            {"_id": module, "well": False}, {"$set": {"dead": 0, "trouble": 0, "well": True}}
        )
    )


async def note_failure(
    database: MongoDatabase, module: str, failure: Failure | None, now: float, *, died: bool
) -> None:
    """A module's job died, or its surroundings failed; other failures are no matter of its health."""
    trouble = failure is not None and failure.kind is FailureClass.INFRASTRUCTURE
    if died or trouble:
        counted = {
            "$inc": {"dead": int(died), "trouble": int(trouble)},
            "$set": {"failed_at": now, "well": False},
        }
        await database.call(lambda: database.collection(HEALTH).update_one({"_id": module}, counted, upsert=True))


# ---- owners -----------------------------------------------------------------------------------------------------


async def beat(database: MongoDatabase, owner: Owner) -> Sequence[Owner]:
    """Adds the owner or raises its beat; all owners. See `Ledger.beat`."""
    rows = database.collection(OWNERS)
    body = text(owner)
    raised = await database.call(
        lambda: rows.update_one({"_id": owner.id}, {"$inc": {"beat": 1}, "$set": {"body": body}})
    )
    if not raised.matched_count:
        await database.insert(OWNERS, [{"_id": owner.id, "beat": owner.beat + 1, "body": body}])
    return await owners(database)


async def owners(database: MongoDatabase) -> Sequence[Owner]:
    """See `Ledger.owners`."""
    found = sorted(await database.find(OWNERS, {}), key=lambda document: str(document["_id"]))
    return tuple(msgspec.structs.replace(_owner.decode(document["body"]), beat=document["beat"]) for document in found)


async def forget_owner(database: MongoDatabase, owner: str) -> None:
    """Removes an owner's document."""
    await database.call(lambda: database.collection(OWNERS).delete_one({"_id": owner}))
