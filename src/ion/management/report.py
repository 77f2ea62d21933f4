"""The flow report: one page that tells what became of a flow, to keep, to send, and to look at first.

It is written in two passes, so that memory does not grow with what jobs produced: the first reads every job once and
keeps a small node of it (the tree, the totals), the second writes row after row to the file and reads each job's
manifest, pictures and log as it comes to it. What is embedded has limits, each alone and all together; what is beyond
them is a link. The page takes the place of an older one only when it is whole.
"""

import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from ion.errors import NotFoundError
from ion.management import report_page as page
from ion.management.jobs import raised_nothing
from ion.management.report_details import Reader
from ion.management.report_row import CHILDREN_CLOSING, CHILDREN_OPENING, JOB_CLOSING, job_opening
from ion.management.report_scale import HUES, Scale, runs
from ion.management.report_tree import Node, Tree, node, pieces
from ion.model.job import Job, State
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import JobFilter, Ledger

__all__ = ["read_report", "write_report"]

FAILURES_SHOWN = 50
PAGE = 200
PIECE = 256 * 1024


async def write_report(
    correlation_id: str, *, ledger: Ledger, documents: Documents, blobs: Blobs, output: Path
) -> None:
    """Writes the report of a flow to `output`, whose folder must exist; an older report there is replaced.

    Jobs of earlier runs that were superseded are counted, not shown. Links to stored files hold for a week.

    Raises:
        NotFoundError: no job of that flow is known.
        UnavailableError: a store is away; `output` is as it was.
    """
    report = _Report(correlation_id, ledger, documents, blobs)
    await report.survey()
    with _replacing(output) as file:
        await report.write(file)


async def read_report(
    correlation_id: str, *, ledger: Ledger, documents: Documents, blobs: Blobs
) -> AsyncIterator[bytes]:
    """The page of `write_report` in pieces, once it is whole; on its way it lies in a temporary file."""
    with tempfile.TemporaryDirectory(prefix="ion-report-") as folder:
        page_file = Path(folder) / "page.html"
        await write_report(correlation_id, ledger=ledger, documents=documents, blobs=blobs, output=page_file)
        with page_file.open("rb") as stream:
            while piece := stream.read(PIECE):
                yield piece


@contextmanager
def _replacing(output: Path) -> Iterator[IO[str]]:
    """A new file that takes the place of `output` if all went well.

    It lies in the same folder, so that the last step is a rename; its name says what a killed process left behind.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        partial.chmod(0o644)  # mkstemp's is for nobody else; a report is made to be read
        partial.replace(output)
    except BaseException:
        partial.unlink()
        raise


class _Tally:
    """What a module's line shows."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.work_s = 0.0
        self.longest_s = 0.0

    def add(self, job: Job, now: datetime) -> None:
        self.states[job.state] += 1
        seconds = sum(max(0.0, (end - start).total_seconds()) for start, end, _ in runs(job, now))
        self.work_s += seconds
        self.longest_s = max(self.longest_s, seconds)


class _Row(msgspec.Struct, frozen=True):
    """A job still to be written; `above` are the blobs of the picture that its parent's row shows."""

    node: Node
    above: frozenset[str] = frozenset()


class _Fold(msgspec.Struct, frozen=True):
    """A group of jobs still to be written."""

    title: str
    nodes: Sequence[Node]
    above: frozenset[str] = frozenset()


class _Report:
    def __init__(self, flow: str, ledger: Ledger, documents: Documents, blobs: Blobs) -> None:
        self._flow, self._ledger = flow, ledger
        self._reader = Reader(documents, blobs)
        self._tallies: dict[str, _Tally] = {}
        self._dead: list[tuple[Node, str]] = []
        self._hidden = 0

    # ---- first pass -------------------------------------------------------------------------------------------

    async def survey(self) -> None:
        """Reads every job once, for the tree and the totals."""
        self._now = await self._ledger.now()
        nodes: list[Node] = []
        produced: dict[str, str] = {}
        async for job in self._jobs():
            if job.gave_way:
                self._hidden += 1
                continue
            nodes.append(node(job, self._now))
            if manifest := await self._reader.manifest(job):
                produced.update((event.id, job.id) for event in manifest.events)
            self._count(job, nodes[-1])
        if not nodes:
            raise NotFoundError(f"no flow '{self._flow}' is known here: `ion flow list` shows those that are")
        self._tree = Tree(nodes, produced)
        span = self._tree.span
        self._scale = Scale(
            start=span[0] if span else None,
            now=self._now,
            seconds=max(0.0, (span[1] - span[0]).total_seconds()) if span else 0.0,
            hues={module: position % HUES for position, module in enumerate(self._tallies)},
        )

    async def _jobs(self) -> AsyncIterator[Job]:
        after: str | None = None
        while True:
            found = await self._ledger.query(JobFilter(correlation_id=self._flow), most=PAGE, after=after)
            for job in found.jobs:
                yield job
            if (after := found.after) is None:
                return

    def _count(self, job: Job, one: Node) -> None:
        self._tallies.setdefault(job.module, _Tally()).add(job, self._now)
        if job.state is State.DEAD and len(self._dead) < FAILURES_SHOWN:
            self._dead.append((one, job.failure.message if job.failure else "No reason was kept."))

    # ---- second pass ------------------------------------------------------------------------------------------

    async def write(self, file: IO[str]) -> None:
        title = self._title()
        states = self._tree.states()
        file.write(page.opening(f"{title} · Ion flow {self._flow[:8]}"))
        file.write(page.heading(title, self._flow, self._tree.span, states, hidden=self._hidden))
        file.write(page.failures(self._dead, states[State.DEAD] - len(self._dead)))
        tallies = [(name, tally.states, tally.work_s, tally.longest_s) for name, tally in self._tallies.items()]
        file.write(page.modules_table(tallies, self._scale))
        file.write(page.tree_opening(self._scale))
        await self._write_tree(file)
        file.write(page.TREE_CLOSING)
        file.write(page.closing(self._now))

    def _title(self) -> str:
        """What the flow is about: its roots' subjects, an address by its last part."""
        subjects = [root.subject.rstrip("/").rpartition("/")[2] or root.module for root in self._tree.roots]
        told = list(dict.fromkeys(subjects))
        return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")

    async def _write_tree(self, file: IO[str]) -> None:
        """Depth first, on a stack of our own: a flow may be deeper than Python's."""
        stack: list[str | _Row | _Fold] = list(reversed(self._pending(None, frozenset())))
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                file.write(item)
            elif isinstance(item, _Fold):
                file.write(page.group_opening(item.title, item.nodes, self._scale))
                stack.append(page.GROUP_CLOSING)
                stack.extend(reversed(_unfolded(item)))
            else:
                stack.extend(await self._write_row(file, item))

    def _pending(self, job: str | None, above: frozenset[str]) -> list[str | _Row | _Fold]:
        return [
            _Row(group[0], above) if len(group) == 1 else _Fold(group[0].module, group, above)
            for group in self._tree.groups(job)
        ]

    async def _write_row(self, file: IO[str], row: _Row) -> list[str | _Row | _Fold]:
        """Writes a job's row, and gives what comes after it, the last first."""
        job = await self._ledger.get(row.node.id)
        pictured, details = await self._reader.read(job, row.above)
        silent = await raised_nothing(job, self._ledger)
        file.write(job_opening(job, details, self._scale, silent=silent))
        children = self._pending(job.id, pictured if len(pictured) == 1 else frozenset())
        if not children:
            return [JOB_CLOSING]
        file.write(CHILDREN_OPENING)
        return [JOB_CLOSING, CHILDREN_CLOSING, *reversed(children)]


def _unfolded(fold: _Fold) -> list[_Row | _Fold]:
    """What a group opens to: its rows, or pieces of it where it is large."""
    cut = pieces(fold.nodes)
    if len(cut) == 1:
        return [_Row(one, fold.above) for one in fold.nodes]
    starts = [sum(len(piece) for piece in cut[:position]) for position in range(len(cut))]
    return [
        _Fold(f"{fold.title} {start + 1:,} to {start + len(piece):,}", piece, fold.above)
        for start, piece in zip(starts, cut, strict=True)
    ]
