"""Event files and insights, through the real commit: taken exactly as they were meant, or refused with one sentence."""

import json
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.documents import ODD, TEXT, VALUES, damaged, keyed, written
from tests.fuzz.outputs import committed, contents, data_of, prepared
from tests.fuzz.profile import examples

from ion.handler.results import EVENT_FILE_MOST, INSIGHTS_MOST
from ion.messaging.codec import DEPTH_MOST
from ion.model.ids import output_event_id
from ion.model.manifest import Manifest

fields = st.sampled_from(["type", "files", "inputs", "subject", "data", "eventType", "key", "value", "Type"])
paths = st.sampled_from(
    ["a.png", "sub/b.png", "./a.png", "../a.png", "/etc/passwd", "sub", "", "a.png,sub/b.png", "nope"]
)
good_objects = st.fixed_dictionaries(
    {"type": st.sampled_from(["found", "nothing_found"])},
    optional={
        "files": st.lists(st.sampled_from(["a.png", "sub/b.png", "./a.png"]), max_size=3),
        "inputs": st.lists(st.sampled_from(["small.bin", "sub/large.bin"]), max_size=2),
        "subject": st.sampled_from(["", "a subject", "é"]),
        "data": st.dictionaries(TEXT, VALUES, max_size=3),
    },
)
good_pairs = st.tuples(
    st.sampled_from(["found", "nothing_found"]),
    st.none() | st.sampled_from(["a.png", " a.png , sub/b.png", "", ",", "./a.png"]),
    st.dictionaries(TEXT, VALUES, max_size=3),
).map(
    lambda said: [
        {"key": "eventType", "value": said[0]},
        *([] if said[1] is None else [{"key": "files", "value": said[1]}]),
        *(
            {"key": key, "value": value}
            for key, value in said[2].items()
            if key not in ("eventType", "files", "subject")
        ),
    ]
)
near = st.lists(
    st.tuples(fields, VALUES | st.lists(paths, max_size=2) | st.sampled_from(["found", "ion.x"])), max_size=5
)
contents_of_events = (
    (good_objects | good_pairs).map(written)
    | damaged((good_objects | good_pairs).map(written))
    | near.map(keyed)
    | st.lists(near.map(dict), max_size=3).map(written)
    | VALUES.map(written)
    | st.sampled_from(ODD)
    | st.builds(lambda odd: b'{"type":"found","data":{"k":%s}}' % (odd or b'""'), st.sampled_from(ODD))
)


def meant(raw: bytes) -> tuple[str, list[str], list[str], str, Any]:
    """Type, files, inputs, subject and data as another reader of JSON finds them in an event file."""
    document = json.loads(raw)
    if isinstance(document, dict):
        said = document.get("files", []), document.get("inputs", [])
        return document["type"], *said, document.get("subject", ""), document.get("data", {})
    data = {pair["key"]: pair["value"] for pair in document}
    kind, listed = data.pop("eventType"), data.pop("files", "")
    return kind, [path.strip() for path in listed.split(",") if path.strip()], [], data.get("subject", ""), data


@examples(250)
@given(contents_of_events)
async def test_any_event_file_is_an_event_as_meant_or_one_sentence(folder: Path, raw: bytes) -> None:
    """Whatever an event file holds: the event, files and data that another reader finds in it, or a refusal."""
    async with prepared(folder) as attempt:
        attempt.leaves("data/a.png", b"a")
        attempt.leaves("data/sub/b.png", b"b")
        attempt.leaves("events/1 é.json", raw)
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert manifest.startswith("out/events/1 é.json ")
            return
        (event,) = manifest.events
        kind, files, inputs, subject, data = meant(raw)
        assert (event.id, event.type) == (output_event_id(attempt.job_id, "1 é.json"), kind)
        assert event.subject == (subject or attempt.event.subject)
        named = [*dict.fromkeys(posixpath.normpath(path) for path in files), *dict.fromkeys(inputs)]
        assert [file.path for file in event.files] == named
        assert await data_of(attempt, event) == data
        assert await contents(attempt, manifest) == {"a.png": b"a", "sub/b.png": b"b"}


contents_of_insights = (
    st.dictionaries(TEXT, VALUES, max_size=4).map(written)
    | st.lists(st.fixed_dictionaries({"key": TEXT, "value": VALUES}), max_size=4).map(written)
    | damaged(st.dictionaries(TEXT, VALUES, max_size=4).map(written))
    | VALUES.map(written)
    | st.sampled_from(ODD)
)


@examples(120)
@given(contents_of_insights)
async def test_any_insights_are_taken_as_meant_or_one_sentence(folder: Path, raw: bytes) -> None:
    """Every key with its value, texts as they are and all else beside its JSON text; or a refusal."""
    async with prepared(folder) as attempt:
        attempt.leaves("insights.json", raw)
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert manifest.startswith("out/insights.json ")
            return
        document = json.loads(raw)
        said = document.items() if isinstance(document, dict) else [(pair["key"], pair["value"]) for pair in document]
        assert [one.key for one in manifest.insights] == [key for key, _ in said]
        for insight, (_, value) in zip(manifest.insights, said, strict=True):
            if isinstance(value, str):
                assert (insight.value, insight.typed) == (value, None)
            else:
                assert json.loads(insight.value) == insight.typed == value


# ---- at the edges -----------------------------------------------------------------------------------------------


async def test_documents_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    """To the byte, for events and for insights."""
    event, insights = b'{"type":"found","data":{"k":"%s"}}', b'{"k":"%s"}'
    for name, document, most in (("events/e.json", event, EVENT_FILE_MOST), ("insights.json", insights, INSIGHTS_MOST)):
        for more in (0, 1):
            async with prepared(tmp_path) as attempt:
                attempt.leaves(name, document % (b"x" * (most - len(document % b"") + more)))
                assert (attempt.directory / "out" / name).stat().st_size == most + more
                assert isinstance(await committed(attempt), str) == bool(more)


@pytest.mark.parametrize("depth", [DEPTH_MOST - 1, DEPTH_MOST, 1_000, 100_000])
async def test_data_is_as_deep_as_is_said_and_no_deeper(folder: Path, depth: int) -> None:
    """The object itself is the first level; what is deeper is refused before it could fill a stack."""
    async with prepared(folder) as attempt:
        attempt.leaves("events/e.json", b'{"type":"found","data":{"a":%s}}' % (b"[" * depth + b"]" * depth))
        assert isinstance(await committed(attempt), Manifest) == (depth < DEPTH_MOST)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("events/e.json", b'{"type":"found","files":["a"],"files":[]}'),
        ("events/e.json", b'{"type":"found","type":"nothing_found"}'),
        ("events/e.json", b'{"type":"found","data":{"k":1,"k":2}}'),
        ("insights.json", b'{"k":1,"k":2}'),
    ],
)
async def test_a_key_that_stands_twice_in_an_object_is_refused(folder: Path, name: str, raw: bytes) -> None:
    """As it is in the list form: which of the two was meant nobody knows, and taking one loses the other."""
    async with prepared(folder) as attempt:
        attempt.leaves("data/a")
        attempt.leaves(name, raw)
        assert "twice" in str(await committed(attempt))
