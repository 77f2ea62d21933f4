"""Verbs on modules, done here."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec

from ion.errors import ConflictError, InvalidError, NotFoundError
from ion.management.checks import check_modules, normal, warnings
from ion.management.created import bare_name, find_module
from ion.management.local.census import living, state_of
from ion.management.local.site import Site, closing, within
from ion.management.registry import left_over, register
from ion.management.run import jobs_of
from ion.management.verbs.modules import Applied, Change, Difference, Fate, ModuleState, ModuleVerbs
from ion.management.verbs.server import COUNTED_MOST
from ion.messaging.nearest import suggestion
from ion.model.job import State
from ion.model.module import Module, Revision, revise
from ion.ports.ledger import JobFilter, Past, Registered

CONCURRENCY_MOST = 10_000


class LocalModules(ModuleVerbs):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._ledger, self._bus = site.stores.ledger, site.stores.bus

    async def list(self) -> tuple[Registered, ...]:
        return tuple(await self._ledger.modules())

    async def get(self, *, name: str) -> ModuleState:
        found = await find_module(self._ledger, name)
        load = await self._ledger.load(found.module.name, COUNTED_MOST)
        state = state_of(found, load, await living(self._ledger))
        return state if self._site.control is None else await self._site.control.judged(state)

    async def apply(
        self, *, modules: tuple[Module, ...], pipeline: str = "", prune: bool = False, dry: bool = False
    ) -> Applied:
        wanted = [normal(module) for module in modules]
        check_modules(wanted, pipeline)
        if prune and not pipeline and not all(module.origin for module in wanted):
            raise InvalidError("nothing says what to prune: give the pipeline a name, or its modules the file's path")
        registered = await self._ledger.modules()
        doomed = left_over(registered, wanted, pipeline) if prune else ()
        changes = _planned(registered, wanted, doomed)
        after = {one.module.name: one.module for one in registered} | {one.name: one for one in wanted}
        for module in doomed:
            del after[module.name]
        said = warnings(after.values(), [change.module for change in changes if change.fate is not Fate.UNCHANGED])
        if not dry:
            await register(self._ledger, self._bus, wanted, self._site.actor)
            for module in doomed:
                await self._ledger.remove(module.name, self._site.actor)
        return Applied(changes=changes, warnings=said)

    async def delete(self, *, name: str, cancel: bool = False) -> Module:
        module = (await find_module(self._ledger, name)).module
        if cancel:  # before as well: whoever finds one without its module makes a dead letter of it
            await self._cancel_waiting(module.name)
        if not await self._ledger.remove(module.name, self._site.actor):
            raise NotFoundError(f"the module {module.name} was removed meanwhile: `ion module list` shows the others")
        if cancel:
            await self._cancel_waiting(module.name)
        return module

    async def _cancel_waiting(self, module: str) -> None:
        async with closing(jobs_of(self._ledger, JobFilter(module=module, states=(State.WAITING,)))) as jobs:
            async for job in jobs:
                await self._ledger.cancel(job.id, self._site.actor)

    async def pause(self, *, name: str, paused: bool) -> Module:
        module = (await find_module(self._ledger, name)).module
        await self._ledger.pause_module(module.name, paused=paused, actor=self._site.actor)
        return module

    async def scale(self, *, name: str, concurrency: int) -> Change:
        within("the concurrency", concurrency, 1, CONCURRENCY_MOST)
        found = await find_module(self._ledger, name)
        return await self._revised(found, msgspec.structs.replace(found.module, concurrency=concurrency))

    async def rollback(self, *, name: str, revision: str = "") -> Change:
        found = await find_module(self._ledger, name)
        earlier = await self._earlier(found, revision)
        return await self._revised(found, earlier.module)

    async def _revised(self, found: Registered, module: Module) -> Change:
        """Gives a module another revision; with its subscriptions, which may be others."""
        await register(self._ledger, self._bus, [module], self._site.actor)
        return _change(found.revision, revise(module))

    async def _earlier(self, found: Registered, beginning: str) -> Revision:
        """The revision that begins so; without a beginning, the one before the present."""
        name, current = found.module.name, found.revision.id
        matching: dict[str, Revision] = {}
        async with closing(self._ledger.revisions(name)) as history:
            async for past in history:
                revision = past.revision
                if revision is None or not (revision.id.startswith(beginning) if beginning else revision.id != current):
                    continue
                matching.setdefault(revision.id, revision)
                if not beginning:
                    break
        if not matching:
            what = f"a revision that begins with '{beginning}'" if beginning else "another revision"
            raise NotFoundError(f"the module {name} never had {what}: see `ion module history {name}`")
        if len(matching) > 1:
            several = ", ".join(list(matching)[:5])
            raise InvalidError(f"several revisions of {name} begin with '{beginning}': {several}; give more of the id")
        return next(iter(matching.values()))

    async def history(self, *, name: str) -> AsyncIterator[Past]:
        known = {one.module.name: one for one in await self._ledger.modules()}
        bare, found = await bare_name(self._ledger, name, known), False
        async with closing(self._ledger.revisions(bare)) as history:
            async for past in history:
                found = True
                yield past
        if not found:
            raise NotFoundError(f"the module '{name}' was never applied: {suggestion(name, known)}")


def _planned(
    registered: Sequence[Registered], wanted: Sequence[Module], doomed: Sequence[Module]
) -> tuple[Change, ...]:
    """What applying does to each, by name. Raises ConflictError: a name is another pipeline's."""
    present = {one.module.name: one.revision for one in registered}
    changes = [_change(present.get(module.name), revise(module)) for module in wanted]
    for module in wanted:
        theirs = present[module.name].module.pipeline if module.name in present else module.pipeline
        if theirs != module.pipeline:
            raise ConflictError(
                f"the module {module.name} belongs to the pipeline {theirs or '(unnamed)'}; give this one another name"
            )
    changes += [Change(module=module.name, fate=Fate.REMOVED, revision=present[module.name].id) for module in doomed]
    return tuple(sorted(changes, key=lambda change: change.module))


def _change(old: Revision | None, new: Revision) -> Change:
    name = new.module.name
    if old is None:
        return Change(module=name, fate=Fate.ADDED, revision=new.id)
    if old.id == new.id:
        return Change(module=name, fate=Fate.UNCHANGED, revision=new.id)
    return Change(module=name, fate=Fate.CHANGED, revision=new.id, differences=_differences(old.module, new.module))


def _differences(old: Module, new: Module) -> tuple[Difference, ...]:
    before, after = dict(_fields(old)), dict(_fields(new))
    names = sorted(before.keys() | after.keys())
    return tuple(
        Difference(field=name, old=before.get(name, ""), new=after.get(name, ""))
        for name in names
        if before.get(name, "") != after.get(name, "")
    )


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every field with its value as JSON text; those of structs and mappings one by one."""
    if isinstance(value, msgspec.Struct):
        inner = {name: getattr(value, name) for name in value.__struct_fields__}
    elif isinstance(value, dict) and value:
        inner = value
    else:
        if value != {}:
            yield path, _text(value)
        return
    for name, one in inner.items():
        yield from _fields(one, f"{path}.{name}" if path else name)


def _text(value: Any) -> str:
    """JSON text; a whole number has no fraction, however it is kept."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value).decode()
