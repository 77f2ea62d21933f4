"""The flow report: a whole, harmless page that tells what became of a flow."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.errors import NotFoundError, UnavailableError
from ion.management.events import RootEvent, raise_event
from ion.management.report import write_report
from ion.management.report_details import LOG_MOST, PICTURE_MOST, PICTURES_MOST
from ion.model import ids
from ion.model.event import Event, FileRef
from ion.model.job import Failure, FailureClass, Job
from ion.model.manifest import INLINE_LIMIT, Insight, Manifest, ManifestRef, execution_prefix, log_path, manifest_path
from ion.model.module import Module, revise
from ion.model.record import event_meta, insight, module_logs
from ion.ports.ledger import Bury, Claim, Retry

VOID = {"meta", "img", "input", "br", "link", "rect"}
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NASTY = "<script>alert('&\"</style></script><img src=x onerror=alert(1)>\x1b[31m\x00\u202e"


class Page(HTMLParser):
    """A parsed page; reading one that is not well nested fails."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parents: dict[str, str] = {}
        self._rows: list[tuple[int, str]] = []
        self.words = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append((tag, known))
        if tag == "li" and (known.get("id") or "").startswith("j-"):
            row = str(known["id"])[2:]
            self.parents[row] = self._rows[-1][1] if self._rows else ""
            self._rows.append((len(self.open), row))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if self._rows and len(self.open) == self._rows[-1][0]:
            self._rows.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Flow:
    """One flow in real stores, worked by hand as the dispatcher and the handler would."""

    def __init__(self, ledger: SqliteLedger, documents: SqliteDocuments, blobs: FilesystemBlobs, folder: Path) -> None:
        self.ledger, self.documents, self.blobs, self.folder = ledger, documents, blobs, folder
        self.id = "0d9f5a52-6a3c-4d5b-9c1e-2f6f8d0b7a11"
        self.clock = [datetime(2024, 5, 4, 12, 0, tzinfo=UTC).timestamp()]

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock[0], UTC)

    async def root(self, subject: str = "photo.png") -> Event:
        root = RootEvent(type="photo", subject=subject, correlation_id=self.id)
        raised = await raise_event(root, gateway="frontapi", ledger=self.ledger, blobs=self.blobs, clock=self.now)
        await self.ledger.unreleased(100, "me")
        assert await self.ledger.released(raised.job, "me")
        return raised.event

    async def start(self, event: Event, module: str, *, run: int = 0, waits_s: float = 1.0) -> Job:
        """Admits and claims the job of a module for an event."""
        revision = revise(Module(name=module, command=("true",)))
        await self.ledger.apply([revision], "me")
        job = ids.job_id(event.id, module, run)
        await self.ledger.admit([Job(id=job, module=module, event=event, run=run)])
        self.clock[0] += waits_s
        return await self.claim(module, revision.id)

    async def claim(self, module: str, revision: str = "") -> Job:
        revision = revision or revise(Module(name=module, command=("true",))).id
        claim = Claim(module=module, most=1, owner="me", scope="here", revision=revision, deadline_s=60)
        (job,) = await self.ledger.claim(claim)
        return job

    async def finish(
        self,
        job: Job,
        *,
        files: Mapping[str, bytes] | None = None,
        events: Sequence[str] = (),
        insights: Mapping[str, str] | None = None,
        log: bytes = b"fine\n",
        takes_s: float = 2.0,
    ) -> list[Event]:
        """Commits and releases a running job; gives the events it raised, each with all its files."""
        execution = ids.new_id()
        prefix = execution_prefix(job.id, job.attempt, execution)
        refs = [await self._put(f"{prefix}data/{name}", name, content) for name, content in (files or {}).items()]
        self.clock[0] += takes_s
        manifest = Manifest(
            job=job.id,
            attempt=job.attempt,
            execution=execution,
            module=job.module,
            event_id=job.event.id,
            correlation_id=self.id,
            parent_event_id=job.event.parent_id,
            started_at=job.started_at or self.now(),
            ended_at=self.now(),
            files=tuple(refs),
            events=tuple(self._event(job, subject, refs) for subject in events),
            insights=tuple(Insight(key=key, value=value) for key, value in (insights or {}).items()),
            log=await self._put(log_path(job.id, job.attempt, execution), "log.txt", log),
            host="workshop",
        )
        await self._commit(job, manifest)
        return list(manifest.events)

    async def _put(self, path: str, name: str, content: bytes) -> FileRef:
        await self.blobs.put_bytes(path, content)
        return FileRef(path=name, blob=path, size=len(content))

    def _event(self, job: Job, subject: str, files: Sequence[FileRef]) -> Event:
        return Event(
            id=ids.output_event_id(job.id, f"{subject}.json"),
            type="found",
            source=f"ion:module/{job.module}",
            correlation_id=self.id,
            parent_id=job.event.id,
            time=self.now(),
            subject=subject,
            files=tuple(files),
        )

    async def _commit(self, job: Job, manifest: Manifest) -> None:
        content = msgspec.json.encode(manifest)
        path = manifest_path(job.id, job.attempt, manifest.execution)
        await self.blobs.put_bytes(path, content)
        ref = ManifestRef(
            blob=path,
            sha256=hashlib.sha256(content).hexdigest(),
            execution=manifest.execution,
            files=len(manifest.files),
            events=len(manifest.events),
            insights=len(manifest.insights),
            inline=content.decode() if len(content) <= INLINE_LIMIT else "",
            log=manifest.log.blob if manifest.log else "",
            started_at=manifest.started_at,
            ended_at=manifest.ended_at,
        )
        assert await self.ledger.commit(job.id, job.attempt, ref)
        records = [event_meta(event, job.module, self.blobs.uri) for event in manifest.events]
        await self.documents.put([*records, insight(manifest)])
        assert await self.ledger.released(job.id, "me")

    async def fail(self, job: Job, message: str, *, again: bool = False, log: bytes = b"no good\n") -> None:
        path = log_path(job.id, job.attempt, ids.new_id())
        await self.blobs.put_bytes(path, log)
        self.clock[0] += 2.0
        failure = Failure(kind=FailureClass.MODULE, message=message, exit_code=3)
        outcome = Retry(failure=failure, delay_s=0) if again else Bury(failure=failure)
        uri = self.blobs.uri(path)
        record = module_logs(job.event, module=job.module, attempt=job.attempt, logs=uri, succeeded=False)
        await self.documents.put([record])
        assert await self.ledger.settle(job.id, job.attempt, "me", outcome, log=path)

    async def report(self) -> Page:
        output = self.folder / "report.html"
        await write_report(self.id, ledger=self.ledger, documents=self.documents, blobs=self.blobs, output=output)
        return Page(await asyncio.to_thread(output.read_text, encoding="utf-8"))


@pytest.fixture
async def flow(tmp_path: Path) -> AsyncIterator[Flow]:
    clock = [0.0]
    async with (
        Database(None, clock=lambda: clock[0]) as database,
        SqliteLedger(database) as ledger,
        SqliteDocuments(database) as documents,
        FilesystemBlobs(tmp_path / "blobs") as blobs,
    ):
        made = Flow(ledger, documents, blobs, tmp_path)
        clock[0] = made.clock[0]
        made.clock = clock
        yield made


async def chain(flow: Flow) -> tuple[Job, Job]:
    """A root event, a job that finds a picture in it, and a job that looks at the picture."""
    first = await flow.start(await flow.root(), "find")
    (event,) = await flow.finish(
        first, files={"face.png": PICTURE}, events=["photo.png#1"], insights={"faces": "1"}, log=b"looked\n"
    )
    second = await flow.start(event, "judge")
    await flow.finish(second, files={"notes.txt": b"x" * 1500}, insights={"label": "calm"})
    return first, second


async def test_the_tree_hangs_each_job_from_the_one_that_raised_its_event(flow: Flow) -> None:
    """The gateway's job is the root; below it stand the jobs its event started, and so on."""
    first, second = await chain(flow)
    page = await flow.report()
    (root,) = [row for row, parent in page.parents.items() if not parent]
    assert page.parents == {root: "", first.id: root, second.id: first.id}


async def test_a_row_tells_module_subject_findings_files_and_log(flow: Flow) -> None:
    """What a job was about and what it found is in the page; files are links with their sizes."""
    await chain(flow)
    page = await flow.report()
    for told in ("judge", "photo.png#1", "label calm", "notes.txt", "1.5 KB", "looked", "workshop", flow.id):
        assert told in page.words
    links = [link["href"] or "" for link in page.all("a")]
    assert any(link.startswith("file:///") and link.endswith("notes.txt") for link in links)


async def test_totals_and_the_time_taken_head_the_page(flow: Flow) -> None:
    """Three jobs released, six seconds between the first admission and the last end."""
    await chain(flow)
    page = await flow.report()
    assert "3 released" in page.words
    assert "2024-05-04 12:00:00 UTC · took 6.00 s · 3 jobs" in page.words


async def test_pictures_are_inside_the_page_once(flow: Flow) -> None:
    """A picture is embedded in the row that made it; the job that looks at it does not carry it again."""
    await chain(flow)
    page = await flow.report()
    shots = [image for image in page.all("img") if image.get("class") == "shot"]
    assert [image["src"] for image in shots] == [f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"]


async def test_pictures_beyond_the_limits_are_links(flow: Flow) -> None:
    """A large picture, and those past the whole page's budget, are named with a link and not embedded."""
    count = PICTURES_MOST // PICTURE_MOST + 2
    files = {"large.png": b"l" * (PICTURE_MOST + 1)}
    job = await flow.start(await flow.root(), "find")
    raised = await flow.finish(job, files=files, events=[str(number) for number in range(count)])
    for number, event in enumerate(raised):
        await flow.finish(
            await flow.start(event, "draw"), files={f"{number}.png": number.to_bytes(PICTURE_MOST, "big")}
        )
    page = await flow.report()
    embedded = [image for image in page.all("img") if (image.get("src") or "").startswith("data:")]
    assert len(embedded) == PICTURES_MOST // PICTURE_MOST
    assert {"large.png", f"{count - 1}.png"} <= {(link.get("href") or "").rpartition("/")[2] for link in page.all("a")}


async def test_a_failure_is_told_first_with_its_message_and_log(flow: Flow) -> None:
    """A dead job heads the page with its reason, links to its row, and its row is open."""
    job = await flow.start(await flow.root(), "find")
    await flow.fail(job, "The model file is missing: mount it.", log=b"Traceback: model.bin\n")
    page = await flow.report()
    assert page.words.count("The model file is missing: mount it.") == 2
    assert "exit code 3" in page.words
    assert "Traceback: model.bin" in page.words
    assert f"#j-{job.id}" in [link.get("href") for link in page.all("a")]
    assert "open" in page.source.split(f'id="j-{job.id}"')[1][:20]


async def test_earlier_attempts_keep_their_logs_within_reach(flow: Flow) -> None:
    """A job that failed once shows its attempt and links to the log of the first."""
    job = await flow.start(await flow.root(), "find")
    await flow.fail(job, "The first try broke.", again=True)
    await flow.finish(await flow.claim("find"), log=b"the second went well\n")
    page = await flow.report()
    assert "attempt 2" in page.words
    assert "the second went well" in page.words
    older = [link for link in page.all("a") if f"{job.id}/1/" in (link.get("href") or "")]
    assert len(older) == 1
    assert len([rect for rect in page.all("rect") if rect["class"] == "run bad"]) == 1


async def test_only_the_end_of_a_long_log_is_embedded(flow: Flow) -> None:
    """Of a log larger than the limit the page holds the end, says so, and links to the whole."""
    lines = b"".join(b"line %06d\n" % number for number in range(LOG_MOST // 8))
    job = await flow.start(await flow.root(), "find")
    await flow.finish(job, log=lines)
    page = await flow.report()
    assert "line 000000" not in page.words
    assert f"line {LOG_MOST // 8 - 1:06}" in page.words
    assert "The end of the log" in page.words


async def test_nothing_foreign_can_run_or_break_the_page(flow: Flow) -> None:
    """Subjects, insights, file names, messages and logs with markup are shown as text."""
    event = await flow.root("<b>&subject</b>")
    job = await flow.start(event, "find")
    raised = await flow.finish(
        job, files={"<i>.png": PICTURE}, events=["plain", NASTY], insights={NASTY: NASTY}, log=NASTY.encode()
    )
    await flow.finish(await flow.start(raised[1], "judge"))
    await flow.fail(await flow.start(raised[0], "judge"), NASTY)
    page = await flow.report()
    assert len(page.all("script")) == 1
    assert not [image for image in page.all("img") if "onerror" in image]
    assert NASTY[:40] in page.words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page.source)


async def test_the_page_asks_for_nothing_and_allows_only_its_own_script(flow: Flow) -> None:
    """A policy names the style and the script by their hashes; no element loads anything from outside."""
    await chain(flow)
    page = await flow.report()
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv")]
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not page.all("link")
    for _, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "data:").startswith("data:")


async def test_an_unknown_flow_is_refused_and_leaves_no_file(flow: Flow) -> None:
    """Nothing is written for a flow that no job belongs to."""
    with pytest.raises(NotFoundError, match="no flow"):
        await flow.report()
    assert not list(flow.folder.glob("*.html*"))


async def test_a_failed_report_leaves_the_older_one(flow: Flow) -> None:
    """Where the store goes away half-way, the page that was there stays, and no part of the new one."""
    await chain(flow)
    before = (await flow.report()).source

    class Away(FilesystemBlobs):
        async def link(self, path: str, ttl_s: float) -> str:
            raise UnavailableError("the blobs are away")

    flow.blobs = Away(flow.folder / "blobs")
    with pytest.raises(UnavailableError):
        await flow.report()
    assert [path.name for path in flow.folder.iterdir() if path.is_file()] == ["report.html"]
    assert await asyncio.to_thread((flow.folder / "report.html").read_text, encoding="utf-8") == before


async def lose(flow: Flow, job: str) -> None:
    """Retention takes the blobs of a job."""
    await flow.blobs.delete(f"{job}/")


async def test_what_retention_took_is_said_to_be_gone(flow: Flow) -> None:
    """A flow whose blobs are gone still has a report: the tree, and the insights of its records."""
    job = await flow.start(await flow.root(), "find")
    many = {f"insight{number}": "x" * 400 for number in range(INLINE_LIMIT // 400)}  # too large for the row
    (event,) = await flow.finish(job, files={"a.txt": b"a"}, events=["part"], insights=many)
    child = await flow.start(event, "judge")
    await flow.finish(child, files={"b.png": PICTURE})
    await lose(flow, job.id)
    await lose(flow, child.id)
    page = await flow.report()
    assert page.parents[child.id] == job.id
    assert "insight7" in page.words
    assert "b.png (no longer stored)" in page.words


async def test_many_alike_jobs_are_folded(flow: Flow) -> None:
    """Hundreds of jobs under one are a closed group that says how many they are and how they stand."""
    job = await flow.start(await flow.root(), "split")
    raised = await flow.finish(job, events=[f"part {number}" for number in range(450)])
    await flow.ledger.apply([revise(Module(name="judge", command=("true",)))], "me")
    await flow.ledger.admit([Job(id=ids.job_id(event.id, "judge"), module="judge", event=event) for event in raised])
    page = await flow.report()
    assert "450 waiting" in page.words
    assert "judge 201 to 400" in page.words
    assert "open for" in page.words
    assert len(page.parents) == 452
    assert not [fold for fold in page.all("details") if "open" in fold]
