"""Looking through what was found, on a real store with real flows: who fits, why a job is as it is, insights."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import MODULES, Bench

from ion.dispatcher.stores import Stores
from ion.errors import InvalidError, NotFoundError
from ion.management.local.findings import is_like
from ion.management.verbs import Management
from ion.management.verbs.findings import Cause, Found, InsightRow, KeyValue
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.module import Module, Subscription
from ion.ports.ledger import JobFilter
from ion.wiring import open_management

T = TypeVar("T")

FACE = '{"type": "face", "files": ["boxed.jpg"]}'
CAT = hashlib.sha256(b"a cat").hexdigest()
BOXED = hashlib.sha256(b"a cat in a box").hexdigest()


def results(faces: int = 2) -> dict[str, str]:
    """What `detect` leaves."""
    insights = json.dumps({"faces": faces, "kind": "cat"})
    return {"data/boxed.jpg": "a cat in a box", "insights.json": insights, "events/face.json": FACE}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.apply(*MODULES)
    return bench


@pytest.fixture
def flow(bench: Bench) -> Event:
    """A root event; `detect` found two faces, `count` waits."""
    event = bench.photo("album-1", subject="holiday/cat.jpg")
    bench.succeed("detect", out=results())
    return event


def managed(bench: Bench, work: Callable[[Management], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_management(bench.store) as management:
            return await work(management)

    return asyncio.run(run())


def find(
    bench: Bench, *, subject: str = "", sha256: str = "", insights: tuple[KeyValue, ...] = (), flow: str = ""
) -> list[tuple[str, str, str]]:
    """Module, by what it fits, and that thing's name."""

    async def work(management: Management) -> list[Found]:
        sought = management.findings.find(subject=subject, sha256=sha256, insights=insights, flow=flow)
        return [found async for found in sought]

    return [(found.job.module, found.by, found.what) for found in managed(bench, work)]


def why(bench: Bench, job: str) -> tuple[Cause, ...]:
    return managed(bench, lambda management: management.findings.why(job=job))


def rows(bench: Bench, **which: object) -> list[InsightRow]:
    async def work(management: Management) -> list[InsightRow]:
        return [row async for row in management.findings.insights(**which)]  # type: ignore[arg-type]

    return managed(bench, work)


def rerun(bench: Bench, job: Job) -> None:
    async def work(management: Management) -> None:
        assert [line.obstacle async for line in management.jobs.rerun(jobs=(job.id,))] == [""]

    managed(bench, work)


def expire(bench: Bench) -> None:
    """Retention takes every job's results; records stay."""

    async def work(stores: Stores) -> None:
        for job in (await stores.ledger.query(JobFilter())).jobs:
            assert await stores.ledger.expire(job.id, "retention")
            assert await stores.ledger.drop_log(job.id, "retention")
            assert await stores.ledger.strip(job.id)

    bench.do(work)


# ---- find -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["holiday/cat.jpg", "holiday/*", "*cat*", "*.jpg", "*"])
def test_jobs_are_found_by_their_subject(bench: Bench, flow: Event, pattern: str) -> None:
    """The subject is inherited down the flow; a star stands for any text."""
    assert find(bench, subject=pattern) == [
        (module, "subject", "holiday/cat.jpg") for module in ("cli", "detect", "count")
    ]


@pytest.mark.parametrize("pattern", ["cat.jpg", "holiday/", "HOLIDAY/*", "holiday/cat?jpg", "holiday/[c]at.jpg"])
def test_a_subject_is_taken_as_it_is(bench: Bench, flow: Event, pattern: str) -> None:
    """Without a star the whole subject has to be the same; nothing but the star has a meaning."""
    assert find(bench, subject=pattern) == []


@pytest.mark.parametrize("digits", [CAT, CAT[:8], CAT.upper(), f"sha256:{CAT}"])
def test_jobs_are_found_by_a_files_hash(bench: Bench, flow: Event, digits: str) -> None:
    """The job that stored the file and those that got it, by the hash or its beginning."""
    assert find(bench, sha256=digits) == [("cli", "out", "cat.jpg"), ("detect", "in", "cat.jpg")]
    assert find(bench, sha256=BOXED) == [("detect", "out", "boxed.jpg"), ("count", "in", "boxed.jpg")]
    assert find(bench, sha256="0" * 64) == []


def test_jobs_are_found_by_insights(bench: Bench, flow: Event) -> None:
    """Every insight that is named has to be there with its value as text; a number is its JSON text."""
    faces, kind = KeyValue(key="faces", value="2"), KeyValue(key="kind", value="cat")
    assert find(bench, insights=(faces, kind)) == [("detect", "insight", "faces=2, kind=cat")]
    assert find(bench, insights=(faces, KeyValue(key="kind", value="dog"))) == []


def test_every_criterion_has_to_fit(bench: Bench, flow: Event) -> None:
    """Subject, hash, insight and flow narrow together; the beginning of a flow's id will do."""
    bench.photo("trip", subject="trip/dog.jpg")
    bench.succeed("detect", out=results(faces=0))
    assert len(find(bench, sha256=CAT)) == 4
    assert find(bench, sha256=CAT, subject="trip/*", flow="tr") == [
        ("cli", "out", "cat.jpg"),
        ("detect", "in", "cat.jpg"),
    ]
    two = (KeyValue(key="faces", value="2"),)
    assert find(bench, sha256=BOXED, insights=two) == [("detect", "out", "boxed.jpg")]
    assert find(bench, sha256=BOXED, insights=two, flow="trip") == []


@pytest.mark.parametrize(
    ("criteria", "sentence"),
    [
        ({}, "nothing says what to find"),
        ({"sha256": "abc"}, "'abc' is no SHA-256"),
        ({"sha256": "g" * 64}, "is no SHA-256"),
        ({"sha256": "0" * 65}, "is no SHA-256"),
        ({"subject": "*", "flow": "zzz"}, "there is no flow 'zzz'"),
    ],
)
def test_a_search_that_cannot_be_done_is_refused(
    bench: Bench, flow: Event, criteria: dict[str, str], sentence: str
) -> None:
    """Without a criterion, or with one that makes no sense, nothing is looked through."""
    with pytest.raises(InvalidError, match=re.escape(sentence)):
        find(bench, **criteria)  # type: ignore[arg-type]


def test_large_results_are_looked_through_too(bench: Bench) -> None:
    """A manifest that is too large for the row is read from the blobs."""
    bench.photo("big")
    insights = json.dumps({f"key{number}": "x" * 40 for number in range(1000)})
    job = bench.succeed("detect", out={"data/boxed.jpg": "a cat in a box", "insights.json": insights})
    assert job.manifest is not None
    assert not job.manifest.inline
    assert find(bench, sha256=BOXED) == [("detect", "out", "boxed.jpg")]
    assert len(rows(bench)) == 1000


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_star_means_what_it_means_in_a_regular_expression(pattern: str, text: str) -> None:
    """For any pattern and text the answer is that of the expression with `.*` for each star."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert is_like(text, pattern) == bool(re.fullmatch(expression, text))


# ---- why --------------------------------------------------------------------------------------------------------


def test_why_leads_up_to_the_root(bench: Bench, flow: Event) -> None:
    """Each link has what ran, what it got with hashes, and what it found; the gateway's job is the last."""
    (waiting,) = bench.jobs("count")
    count, detect, root = why(bench, waiting.id[:8])
    assert [one.job.module for one in (count, detect, root)] == ["count", "detect", "cli"]
    assert (count.job.id, count.command, count.insights) == (waiting.id, (), ())
    assert [(file.path, file.sha256) for file in count.inputs] == [("boxed.jpg", BOXED)]
    assert detect.command == ("true",)
    assert [(file.path, file.sha256) for file in detect.inputs] == [("cat.jpg", CAT)]
    assert [(one.key, one.value) for one in detect.insights] == [("faces", "2"), ("kind", "cat")]
    assert [(file.path, file.sha256) for file in root.inputs] == [("cat.jpg", CAT)]
    assert root.job.event.id == flow.id


def test_why_tells_the_image_of_the_revision_that_ran(bench: Bench) -> None:
    """The image is the one of the job's revision, also after the module got another."""
    heard = (Subscription(type="photo"),)
    bench.apply(Module(name="detect", on=heard, emits=("face",), image="acme/detect:1", folder="/"))
    bench.photo()
    job = bench.succeed("detect", out=results())
    bench.apply(Module(name="detect", on=heard, emits=("face",), image="acme/detect:2", folder="/"))
    assert [one.image for one in why(bench, job.id)] == ["acme/detect:1", ""]


def test_why_tells_apart_who_raised_the_same_from_the_same(bench: Bench) -> None:
    """Two modules heard one event and both raised a face: each count has come of its own one."""
    bench.apply(Module(name="blur", on=(Subscription(type="photo"),), emits=("face",), command=("true",), folder="/"))
    bench.photo()
    for module in ("detect", "blur"):
        bench.succeed(module, out=results())
    chains = [[one.job.module for one in why(bench, job.id)] for job in bench.jobs("count")]
    assert chains == [["count", "detect", "cli"], ["count", "blur", "cli"]]


def test_why_goes_on_where_results_have_expired(bench: Bench, flow: Event) -> None:
    """Of tombstones the events still tell who came of whom; insights are told while their record is there."""
    job = bench.succeed("count", out={})
    expire(bench)
    count, detect, root = why(bench, job.id)
    assert [one.job.state for one in (count, detect, root)] == [State.EXPIRED] * 3
    assert [one.job.module for one in (count, detect, root)] == ["count", "detect", "cli"]
    assert [one.value for one in detect.insights] == ["2", "cat"]
    assert detect.inputs == ()


def test_why_of_no_job_is_refused(bench: Bench) -> None:
    """An id that nobody has is not found."""
    with pytest.raises(NotFoundError, match="there is no job 'ffff'"):
        why(bench, "ffff")


# ---- insights ---------------------------------------------------------------------------------------------------


def test_insights_are_rows(bench: Bench, flow: Event) -> None:
    """One row an insight, with all that tells whose it is; what was no text has its JSON text beside it."""
    (job,) = bench.jobs("detect")
    faces, kind = rows(bench)
    assert job.manifest is not None
    assert faces == InsightRow(
        at=job.manifest.ended_at,
        correlation_id="album-1",
        event_id=flow.id,
        job=job.id,
        module="detect",
        revision=job.revision,
        subject="holiday/cat.jpg",
        key="faces",
        value="2",
        typed="2",
    )
    assert (kind.key, kind.value, kind.typed) == ("kind", "cat", "")


def test_insights_are_narrowed(bench: Bench, flow: Event) -> None:
    """By module, flow and when the execution ended: from `since` on, and before `until`."""
    bench.photo("trip")
    later = bench.succeed("detect", out=results(faces=7))
    assert later.manifest is not None
    at = later.manifest.ended_at
    assert len(rows(bench)) == 4
    assert rows(bench, module="count") == []
    assert [row.value for row in rows(bench, flow="tri")] == ["7", "cat"]
    assert [row.value for row in rows(bench, since=at)] == ["7", "cat"]
    assert [row.value for row in rows(bench, until=at)] == ["2", "cat"]
    assert rows(bench, since=at + timedelta(seconds=1)) == []


def test_a_superseded_run_counts_no_more(bench: Bench, flow: Event) -> None:
    """Once a later run is released, only its insights are rows, and only its jobs are found."""
    bench.succeed("count", out={})
    (first,) = bench.jobs("detect")
    rerun(bench, first)
    again = bench.succeed("detect", out=results(faces=3))
    assert [row.value for row in rows(bench)] == ["3", "cat"]
    assert find(bench, insights=(KeyValue(key="faces", value="2"),)) == []
    assert find(bench, sha256=BOXED) == [("detect", "out", "boxed.jpg"), ("count", "in", "boxed.jpg")]
    assert why(bench, first.id)[0].job.id == first.id
    assert again.run == 1


def test_insights_outlive_their_results(bench: Bench, flow: Event) -> None:
    """Retention may have taken a job's results and left its record: its insights are still rows."""
    bench.succeed("count", out={})
    before = [(row.key, row.value, row.typed, row.revision) for row in rows(bench)]
    expire(bench)
    assert [(row.key, row.value, row.typed, row.revision) for row in rows(bench)] == before
    assert before
