"""The dead letters: jobs that nobody tries again. A person finds those of one cause, mends it, and queues them again.

Only their ids are held, however many they are; each is read when it is shown.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

from ion.errors import ConflictError, InvalidError
from ion.management.checks import check_modules
from ion.management.jobs import find_job
from ion.management.report_text import many
from ion.management.run import jobs_of
from ion.model.job import FailureClass, Job, State
from ion.model.module import revise
from ion.ports.ledger import Control, JobFilter, Ledger


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which dead letters; every field narrows. `since` and `until` bound when they died, `revision` may be a beginning
    of one.
    """

    module: str = ""
    kinds: tuple[FailureClass, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    revision: str = ""
    correlation_id: str = ""

    @property
    def narrows(self) -> bool:
        return self != LetterFilter()


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What is held of a dead letter."""

    id: str
    module: str
    correlation_id: str


class Redrive(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be queued again, and how many were left out since their flows are cancelled."""

    letters: tuple[Letter, ...]
    cancelled: int = 0


async def letters_of(ledger: Ledger, which: LetterFilter) -> AsyncIterator[Job]:
    """The dead letters that a filter fits, in the order of their admission."""
    narrowed = JobFilter(module=which.module, correlation_id=which.correlation_id, states=(State.DEAD,))
    async for job in jobs_of(ledger, narrowed):
        if _fits(job, which):
            yield job


def _fits(job: Job, which: LetterFilter) -> bool:
    died = job.ended_at
    return (
        (not which.kinds or (job.failure is not None and job.failure.kind in which.kinds))
        and job.revision.startswith(which.revision)
        and (which.since is None or (died is not None and died >= which.since))
        and (which.until is None or (died is not None and died < which.until))
    )


async def plan_redrive(ledger: Ledger, ids: Sequence[str], which: LetterFilter, *, everything: bool) -> Redrive:
    """What is to be queued again: dead letters named, chosen by a filter, or every one.

    Raises:
        InvalidError: nothing, or more than one, says which. ConflictError: see `named_letters`, `chosen_letters`.
    """
    if ids and (which.narrows or everything):
        raise InvalidError("name dead letters by their ids or choose them with filters, not both")
    if everything and which.narrows:
        raise InvalidError("--all means every dead letter; leave it out, or the filters")
    if not (ids or which.narrows or everything):
        raise InvalidError("say which dead letters: ids, a filter such as --module, or --all")
    return await (named_letters(ledger, ids) if ids else chosen_letters(ledger, which))


async def named_letters(ledger: Ledger, prefixes: Sequence[str]) -> Redrive:
    """The dead letters of these ids, each once.

    Raises:
        ConflictError: one is in another state, or in a cancelled flow. NotFoundError, InvalidError: see `find_job`.
    """
    jobs = {job.id: job for job in [await find_job(ledger, prefix) for prefix in prefixes]}
    for job in jobs.values():
        if job.state is not State.DEAD:
            raise ConflictError(f"job {job.id} is {job.state}: only dead letters are redriven; see `ion dlq list`")
        if await _is_cancelled(ledger, job.correlation_id):
            raise _in_cancelled_flow(job.id, job.correlation_id)
    return Redrive(letters=tuple(_letter(job) for job in jobs.values()))


async def chosen_letters(ledger: Ledger, which: LetterFilter) -> Redrive:
    """The dead letters that a filter fits, without those of cancelled flows.

    Raises:
        ConflictError: there are some, and all are in cancelled flows.
    """
    letters = [_letter(job) async for job in letters_of(ledger, which)]
    flows = {letter.correlation_id for letter in letters}
    cancelled = {flow for flow in flows if await _is_cancelled(ledger, flow)}
    left = tuple(letter for letter in letters if letter.correlation_id not in cancelled)
    if letters and not left:
        raise _in_cancelled_flow(letters[0].id, letters[0].correlation_id)
    return Redrive(letters=left, cancelled=len(letters) - len(left))


async def check_redrive(ledger: Ledger, letters: Sequence[Letter], image: str) -> None:
    """Refuses before anything is changed what cannot be done with all of them.

    Raises:
        ConflictError: a module is gone. InvalidError: `image` is given and cannot be used.
    """
    registered = {one.module.name: one.module for one in await ledger.modules()}
    for letter in letters:
        if letter.module not in registered:
            raise ConflictError(
                f"job {letter.id} is for the module {letter.module}, which is gone; apply that module first, "
                "or choose others with --module"
            )
    modules = sorted({letter.module for letter in letters})
    if not image or not modules:
        return
    if len(modules) > 1:
        raise InvalidError(f"one image is for one module, and these are of {', '.join(modules)}; choose with --module")
    if not registered[modules[0]].image:
        raise InvalidError(
            f"module {modules[0]} runs without an image; change its command in the pipeline file instead"
        )
    module = msgspec.structs.replace(registered[modules[0]], image=image)
    check_modules([module], module.pipeline)


async def redrive(ledger: Ledger, letters: Sequence[Letter], image: str, actor: str) -> AsyncIterator[Letter]:
    """Queues dead letters again, after their module got a new revision with `image` if there is one.

    It may be repeated: what waits already is left out.

    Yields:
        Those that wait now.

    Raises:
        ConflictError, InvalidError: see `check_redrive`; or a flow was cancelled, a module removed meanwhile.
    """
    await check_redrive(ledger, letters, image)
    if image and letters:
        (module,) = [one.module for one in await ledger.modules() if one.module.name == letters[0].module]
        await ledger.apply([revise(msgspec.structs.replace(module, image=image))], actor)
    for letter in letters:
        if await ledger.requeue(letter.id, actor):
            yield letter


def left_out(plan: Redrive) -> str:
    """A remark on what was left out, or nothing."""
    if not plan.cancelled:
        return ""
    return f"{many(plan.cancelled, 'dead letter')} of cancelled flows left out; raise their root events anew instead"


def _letter(job: Job) -> Letter:
    return Letter(id=job.id, module=job.module, correlation_id=job.correlation_id)


async def _is_cancelled(ledger: Ledger, flow: str) -> bool:
    return (await ledger.flow(flow)).control is Control.CANCELLED


def _in_cancelled_flow(job: str, flow: str) -> ConflictError:
    return ConflictError(f"job {job} belongs to the cancelled flow {flow}; raise its root event anew instead")
