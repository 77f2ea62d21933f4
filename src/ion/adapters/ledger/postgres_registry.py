"""What is applied and who serves it: modules with their revisions and health, and owners with their beats."""

from collections.abc import Mapping, Sequence

import msgspec

from ion.adapters.ledger.postgres_verbs import PostgresVerbs
from ion.adapters.ledger.rows import text
from ion.adapters.postgres.database import Postgres, Row
from ion.errors import ConflictError, NotFoundError
from ion.model.module import Revision
from ion.ports.ledger import Changes, Health, Owner, Registered, Subscriber

_owner = msgspec.json.Decoder(Owner)
_revision = msgspec.json.Decoder(Revision)
_REVISIONS_KEPT = 500
_STRAYS = 2000


class PostgresRegistry(PostgresVerbs):
    """The part of the PostgreSQL ledger that knows modules and owners."""

    def __init__(self, database: Postgres) -> None:
        super().__init__(database)
        self._subscribers: Mapping[str, Sequence[Subscriber]] = {}
        self._subscribers_version = -1
        self._revisions: dict[tuple[str, str], Revision] = {}

    # ---- owners -----------------------------------------------------------------------------------------------

    async def beat(self, owner: Owner) -> Sequence[Owner]:
        rows = await self._database.run("SELECT body, beats FROM beat(%s, %s, %s)", (owner.id, owner.beat, text(owner)))
        freed = await self._value("SELECT disown_strays(%s)", _STRAYS)
        self._tell(Changes.COMMITTED if freed else None)
        known = _owners(rows)
        strays = await self._database.run("SELECT stray, of_scope FROM strays()")
        return (*known, *(Owner(id=key, scope=scope, host="", pid=0) for key, scope in strays))

    async def owners(self) -> Sequence[Owner]:
        return _owners(await self._database.run("SELECT body, beat FROM owners ORDER BY id"))

    async def retire(self, owner: str) -> None:
        await self._disown(owner)
        await self._value("SELECT retire(%s)", owner)

    # ---- modules ----------------------------------------------------------------------------------------------

    async def apply(self, revisions: Sequence[Revision], actor: str) -> Sequence[str]:
        rows = [
            {"name": one.module.name, "pipeline": one.module.pipeline, "revision": one.id, "body": text(one)}
            for one in revisions
        ]
        changed = await self._database.run(
            "SELECT changed, owned_by FROM apply_modules(%s, %s, %s)", (text(rows), actor, self._clock)
        )
        for name, pipeline in changed:
            if pipeline is not None:
                raise ConflictError(
                    f"the module {name} belongs to the pipeline {pipeline or '(unnamed)'}; give this one another name"
                )
        self._tell(Changes.REGISTRY if changed else None)
        return tuple(dict.fromkeys(name for name, _ in changed))

    async def remove(self, module: str, actor: str) -> bool:
        done = await self._value("SELECT remove_module(%s, %s, %s)", module, actor, self._clock)
        self._tell(Changes.REGISTRY if done else None)
        return bool(done)

    async def modules(self) -> Sequence[Registered]:
        rows = await self._database.run(
            "SELECT body, paused, dead, trouble, quiet_s FROM registered(%s)", (self._clock,)
        )
        return tuple(
            Registered(
                revision=_revision.decode(body),
                paused=paused,
                health=Health(dead_in_row=dead, trouble_in_row=trouble, quiet_s=quiet_s),
            )
            for body, paused, dead, trouble, quiet_s in rows
        )

    async def revision(self, module: str, revision: str) -> Revision:
        known = self._revisions.get((module, revision))  # a revision never changes
        if known is None:
            rows = await self._database.run(
                "SELECT body FROM revisions WHERE module = %s AND id = %s", (module, revision)
            )
            if not rows:
                raise NotFoundError(f"the module {module} never had a revision {revision}; apply its pipeline again")
            known = _revision.decode(rows[0][0])
            if len(self._revisions) >= _REVISIONS_KEPT:
                self._revisions.clear()
            self._revisions[module, revision] = known
        return known

    async def subscribers(self, event_type: str) -> Sequence[Subscriber]:
        version = await self._value("SELECT version FROM registry")
        if version != self._subscribers_version:
            # Read after the version: if it changed in between, the copy is newer than it claims and is made again.
            subscribers = _by_type(await self.modules())
            self._subscribers, self._subscribers_version = subscribers, version
            return subscribers.get(event_type, ())
        return self._subscribers.get(event_type, ())

    async def pause_module(self, module: str, *, paused: bool, actor: str) -> None:
        if not await self._value("SELECT pause_module(%s, %s, %s, %s)", module, paused, actor, self._clock):
            raise NotFoundError(f"there is no module {module}; apply its pipeline first")
        self._tell(Changes.REGISTRY if paused else Changes.REGISTRY | Changes.DUE)


def _owners(rows: Sequence[Row]) -> list[Owner]:
    return [msgspec.structs.replace(_owner.decode(body), beat=count) for body, count in rows]


def _by_type(modules: Sequence[Registered]) -> Mapping[str, Sequence[Subscriber]]:
    found: dict[str, list[Subscriber]] = {}
    for registered in modules:
        for subscription in registered.module.on:
            found.setdefault(subscription.type, []).append(
                Subscriber(module=registered.module.name, subscription=subscription)
            )
    return {kind: tuple(subscribers) for kind, subscribers in found.items()}
