"""Verbs on the dead letters, done here."""

from collections.abc import AsyncIterator

import msgspec

from ion.management.dead_letters import LetterFilter, check_redrive, left_out, letters_of, plan_redrive, redrive
from ion.management.local.site import Site, closing
from ion.management.verbs.letters import LetterVerbs, Redriven
from ion.model.job import Job


class LocalLetters(LetterVerbs):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._ledger = site.stores.ledger

    async def list(self, *, which: LetterFilter) -> AsyncIterator[Job]:
        async with closing(letters_of(self._ledger, await self._whole(which))) as letters:
            async for job in letters:
                yield job

    async def redrive(
        self,
        *,
        jobs: tuple[str, ...] = (),
        which: LetterFilter,
        everything: bool = False,
        image: str = "",
        dry: bool = False,
    ) -> AsyncIterator[Redriven]:
        plan = await plan_redrive(self._ledger, jobs, await self._whole(which), everything=everything)
        if note := left_out(plan):
            yield Redriven(note=note)
        if dry:
            await check_redrive(self._ledger, plan.letters, image)
            for letter in plan.letters:
                yield Redriven(id=letter.id)
            return
        async with closing(redrive(self._ledger, plan.letters, image, self._site.actor)) as queued:
            async for letter in queued:
                yield Redriven(id=letter.id)

    async def _whole(self, which: LetterFilter) -> LetterFilter:
        flow, module = await self._site.flow_id(which.correlation_id), await self._site.module_name(which.module)
        return msgspec.structs.replace(which, correlation_id=flow, module=module)
