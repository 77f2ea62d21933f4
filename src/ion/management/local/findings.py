"""Looking through what was found: which jobs fit, why a job is as it is, and insights as rows.

No index leads to a subject, a hash or an insight. What is looked through is every job of the flow that is named, or
else of the whole ledger: a page of rows at a time, some thirty thousand a second where the ledger is on this host. A
row holds its manifest up to 32 KB; a larger one is read from the blobs, only where the row cannot decide and its counts
do not rule it out. Memory holds a page of rows and one manifest.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ion.dispatcher.manifests import load_manifest
from ion.errors import InvalidError, NotFoundError
from ion.management.jobs import find_job
from ion.management.local.ancestors import ancestors
from ion.management.local.site import Site
from ion.management.local.waits import why_it_waits
from ion.management.run import is_gateways, jobs_of
from ion.management.verbs.findings import Cause, FindingVerbs, Found, InsightRow, KeyValue
from ion.model.event import FileRef
from ion.model.job import Job, State
from ion.model.manifest import Insight, Manifest
from ion.model.module import Revision
from ion.model.record import Kind
from ion.ports.ledger import JobFilter

DIGITS_LEAST: Final = 8
_HEXADECIMAL = re.compile(r"[0-9a-f]{8,64}")
_COUNTS = (State.COMMITTED, State.RELEASED, State.EXPIRED)


class LocalFindings(FindingVerbs):
    """See `FindingVerbs`; on the ports of an open store."""

    def __init__(self, site: Site) -> None:
        stores = site.stores
        self._site, self._ledger, self._documents, self._blobs = site, stores.ledger, stores.documents, stores.blobs

    async def find(
        self,
        *,
        subject: str = "",
        sha256: str = "",
        insights: tuple[KeyValue, ...] = (),
        flow: str = "",
    ) -> AsyncIterator[Found]:
        """See `FindingVerbs.find`, and the module's text for what it costs.

        Runs that a later one superseded are left out. Of an expired job only what is left of it can fit.
        """
        wanted = _Wanted(subject=subject, sha256=_digits(sha256), insights=insights)
        async for job in jobs_of(self._ledger, await self._narrowed(flow=flow)):
            if not job.gave_way and wanted.may_fit(job):
                manifest = await self._manifest(job) if wanted.needs_results(job) else None
                if found := wanted.fits(job, manifest):
                    yield found

    async def why(self, *, job: str) -> tuple[Cause, ...]:
        """See `FindingVerbs.why`; a handful of reads by index a link, so it does not grow with the ledger."""
        chain = ancestors(await find_job(self._ledger, job), self._ledger, self._manifest)
        first, *rest = [await self._cause(link) async for link in chain]
        return (msgspec.structs.replace(first, waits=await why_it_waits(first.job, self._ledger)), *rest)

    async def insights(
        self, *, module: str = "", flow: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[InsightRow]:
        """See `FindingVerbs.insights`, and the module's text for what it costs.

        A job that retention took may still have its record, which tells its insights then; its revision stays.
        """
        which = await self._narrowed(flow=flow, module=module)  # not by states: nearly all are released, without index
        async for job in jobs_of(self._ledger, which):
            ended = job.manifest.ended_at if job.manifest else job.ended_at
            if job.state not in _COUNTS or job.gave_way or ended is None:
                continue
            if (since is None or ended >= since) and (until is None or ended < until):
                for insight in await self._insights(job):
                    yield _row(job, ended, insight)

    # ---- reading ----------------------------------------------------------------------------------------------

    async def _narrowed(self, *, flow: str, module: str = "") -> JobFilter:
        return JobFilter(correlation_id=await self._site.flow_id(flow), module=module)

    async def _manifest(self, job: Job) -> Manifest | None:
        """The job's results, or None where there are none (any more)."""
        if job.manifest is None:
            return None
        try:
            return await load_manifest(job.manifest, self._blobs)
        except NotFoundError:
            return None

    async def _insights(self, job: Job) -> Sequence[Insight]:
        if job.manifest is not None:
            manifest = await self._manifest(job) if job.manifest.insights else None
            return manifest.insights if manifest else ()
        if job.state is not State.EXPIRED or not job.execution or not job.revision:
            return ()
        try:
            record = await self._documents.get(Kind.INSIGHT, job.execution)
        except NotFoundError:
            return ()
        return msgspec.convert(record.body.get("data", []), tuple[Insight, ...])

    async def _cause(self, job: Job) -> Cause:
        manifest = await self._manifest(job)
        revision = await self._revision(job)
        digest = (manifest.image_digest if manifest else "") or (revision.image_digest if revision else "")
        return Cause(
            job=job,
            image=revision.module.image if revision else "",
            image_digest=digest,
            command=revision.module.command if revision else (),
            inputs=tuple(_inputs(job, manifest)),
            insights=tuple(await self._insights(job)),
        )

    async def _revision(self, job: Job) -> Revision | None:
        """None before its first claim, and of a gateway."""
        if not job.revision:
            return None
        try:
            return await self._ledger.revision(job.module, job.revision)
        except NotFoundError:
            return None


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The criteria of a search; the cheap ones are looked at first."""

    subject: str
    sha256: str
    insights: tuple[KeyValue, ...]

    def __post_init__(self) -> None:
        if not (self.subject or self.sha256 or self.insights):
            raise InvalidError("nothing says what to find: give a subject, a file's SHA-256 or an insight")

    def may_fit(self, job: Job) -> bool:
        """As far as the row alone tells."""
        if self.subject and not is_like(job.event.subject, self.subject):
            return False
        return not self.insights or bool(job.manifest and job.manifest.insights)

    def needs_results(self, job: Job) -> bool:
        """Whether the manifest has to be read; a hash stands in it as it is, so its text can rule it out."""
        if job.manifest is None:
            return False
        text = job.manifest.inline
        return bool(self.insights) or bool(self.sha256 and (not text or self.sha256 in text))

    def fits(self, job: Job, manifest: Manifest | None) -> Found | None:
        by, what = ("subject", job.event.subject) if self.subject else ("", "")
        if self.insights:
            held = {(one.key, one.value) for one in manifest.insights} if manifest else set[tuple[str, str]]()
            if not all((one.key, one.value) in held for one in self.insights):
                return None
            by, what = "insight", ", ".join(f"{one.key}={one.value}" for one in self.insights)
        if self.sha256:
            if (file := self._file(job, manifest)) is None:
                return None
            by, what = file
        return Found(job=job, by=by, what=what)

    def _file(self, job: Job, manifest: Manifest | None) -> tuple[str, str] | None:
        """Whether the file came out of the job or went in, and its name; where both, it came out."""
        places = (("out", manifest.files if manifest else ()), ("in", _inputs(job, manifest, gateways=False)))
        for place, files in places:
            for file in files:
                if file.sha256.startswith(self.sha256):
                    return place, file.path
        return None


def _digits(sha256: str) -> str:
    digits = sha256.strip().lower().removeprefix("sha256:")
    if digits and not _HEXADECIMAL.fullmatch(digits):
        raise InvalidError(
            f"'{sha256}' is no SHA-256: give its 64 hexadecimal digits, or the first {DIGITS_LEAST} or more"
        )
    return digits


def is_like(text: str, pattern: str) -> bool:
    """Whether a text is as the pattern says, in which `*` stands for any text, also for none. Linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def _inputs(job: Job, manifest: Manifest | None, *, gateways: bool = True) -> Sequence[FileRef]:
    """What the job got; of a gateway's job, what came to it from outside."""
    if is_gateways(job):
        return tuple(manifest.files) if manifest and gateways else ()
    return tuple(manifest.inputs) if manifest and manifest.inputs else job.event.files


def _row(job: Job, ended: datetime, insight: Insight) -> InsightRow:
    typed = "" if insight.typed is None else msgspec.json.encode(insight.typed).decode()
    return InsightRow(
        at=ended,
        correlation_id=job.correlation_id,
        event_id=job.event.id,
        job=job.id,
        module=job.module,
        revision=job.revision,
        subject=job.event.subject,
        key=insight.key,
        value=insight.value,
        typed=typed,
    )
