"""Events on the wire: what cannot come back is not sent, what is damaged is refused, and nothing else ever happens."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fuzz.documents import ODD, TEXT, VALUES, damaged, keyed, written
from tests.fuzz.profile import examples, one_sentence

from ion.errors import InvalidError
from ion.messaging import trace
from ion.messaging.codec import decode, encode, gateway_source, module_source
from ion.model import ids
from ion.model.event import Event, FileRef

words = st.sampled_from(["", "a", "a b", "x" * 300, "\ud800", "\0", "a\nb", "ion:module/m", "é💥", "1"]) | TEXT
uuids = st.uuids(version=4).map(str)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=23)), None])
numbers = st.sampled_from([0, 1, -1, 2**63, -(2**63), 2**64, 10**30])
not_json = st.floats() | st.just(object()) | st.just(1j)
files = st.builds(FileRef, path=words, blob=words, size=numbers, sha256=words)

anything = st.builds(
    Event,
    id=uuids | words,
    type=st.sampled_from(["photo", "a.b"]) | words,
    source=st.just("ion:module/m") | words,
    correlation_id=st.just("flow") | words,
    parent_id=words,
    time=st.datetimes(timezones=st.just(UTC)) | st.datetimes(timezones=zones),
    subject=words,
    traceparent=words,
    origid=st.just("") | words,
    hops=st.just(0) | numbers,
    files=st.lists(files, max_size=2).map(tuple),
    data=VALUES | not_json | st.dictionaries(TEXT, not_json | VALUES, max_size=2),
    dataref=st.just("") | words,
)
"""Events with anything in any field, as far as types go."""


@examples(600)
@given(anything)
def test_an_event_is_sent_only_if_it_comes_back(event: Event) -> None:
    """Whatever its fields hold: it is refused in one sentence, or it comes back as it was, once and again."""
    try:
        raw = encode(event)
    except InvalidError as error:
        one_sentence(error)
        return
    assert decode(raw) == event
    assert decode(encode(decode(raw))) == event


OWN = Event(
    id="0d5cf2c1-7d1c-4a5e-9d3e-0a4f5b6c7d8e",
    type="photo",
    source=module_source("m"),
    correlation_id="flow",
    parent_id="p",
    time=datetime(2024, 5, 1, tzinfo=UTC),
    subject="a.jpg",
    traceparent=trace.new_trace(),
    hops=3,
    files=(FileRef(path="a.png", blob="j/1/x/data/a.png", size=3, sha256="ab"),),
    data={"k": ["v", 1.5, None], "n": {"m": True}},
)
FOREIGN = {"specversion": "1.0", "id": "17", "source": "shop", "type": "order", "data": {"files": [1]}, "extra": "x"}
ORIGINAL = {
    "context": {"eventId": "e1", "name": "m", "correlationId": "c", "parentEventId": "m", "documentType": "eventMeta"},
    "type": "photo",
    "previousStages": ["a"],
    "data": [{"key": "k", "value": "v"}],
}
wires = st.sampled_from([encode(OWN), written(FOREIGN), written(ORIGINAL)])
attributes = st.sampled_from([*json.loads(encode(OWN)), "origid", "dataref", "wrapped", "data_base64", "context"])


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A good document with some attributes of any value, perhaps twice, in any order."""
    pairs = list(json.loads(draw(wires)).items())
    pairs += draw(st.lists(st.tuples(attributes, VALUES), max_size=3))
    return keyed(draw(st.permutations(pairs)))


@examples(800)
@given(damaged(wires) | altered() | st.binary(max_size=64) | st.sampled_from(ODD))
def test_any_bytes_are_an_event_or_one_sentence(raw: bytes) -> None:
    """Damaged, altered or no document at all: an event that lasts, the same at each reading, or one InvalidError."""
    try:
        event = decode(raw)
    except InvalidError as error:
        one_sentence(error)
        return
    assert decode(raw) == event
    assert decode(encode(event)) == event


@examples(150)
@given(st.sampled_from(ODD), st.sampled_from([*json.loads(encode(OWN)), "extra"]))
def test_an_odd_value_of_any_attribute_is_an_event_or_one_sentence(value: bytes, name: str) -> None:
    """Deep, huge, torn or in another encoding: what stands at one attribute cannot break the reader."""
    raw = b'{"specversion":"1.0","id":"1","source":"s","type":"t",%s:%s}' % (written(name), value or b'""')
    try:
        event = decode(raw)
    except InvalidError as error:
        one_sentence(error)
        return
    assert decode(encode(event)) == event


LONG = "long " * 100_000


@pytest.mark.parametrize(
    "document",
    [
        {**FOREIGN, "specversion": LONG},
        {**FOREIGN, "type": LONG},
        {**FOREIGN, "time": LONG},
        {**FOREIGN, "id": f"{LONG}\0"},
        {**FOREIGN, "source": f"{LONG}\0"},
        {**FOREIGN, "data_base64": LONG},
        {**FOREIGN, LONG: 1, "subject": 1},
        {**FOREIGN, "data": {LONG: float("nan")}},
        {**json.loads(encode(OWN)), "wrapped": True},
        {**json.loads(encode(OWN)), "data": {"files": [{LONG: LONG}]}},
        {**json.loads(encode(OWN)), "correlationid": f"{LONG}\0"},
        {**ORIGINAL, "type": LONG},
        {**ORIGINAL, "context": {"eventId": f"{LONG}\0"}},
        {**ORIGINAL, "data": [{LONG: LONG}]},
    ],
)
def test_a_refusal_does_not_repeat_a_document(document: Any) -> None:
    """However long the value is that is wrong, the sentence about it is short enough to be read."""
    with pytest.raises(InvalidError) as caught:
        decode(written(document))
    one_sentence(caught.value)


@examples(150)
@given(wires, st.randoms(use_true_random=False), st.integers(0, 3))
def test_how_a_document_is_laid_out_means_nothing(raw: bytes, chance: Any, indent: int) -> None:
    """The order of the attributes, blanks, and letters written as escapes: the event is the same."""
    pairs = list(json.loads(raw).items())
    chance.shuffle(pairs)
    assert decode(json.dumps(dict(pairs), indent=indent).encode()) == decode(raw)
    assert decode(json.dumps(dict(pairs), ensure_ascii=False).encode()) == decode(raw)


# ---- made elsewhere ---------------------------------------------------------------------------------------------

readable = VALUES.filter(lambda value: b"\\ud800" not in written(value))
"""What a reader of JSON takes: a lone surrogate is no text."""
plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@examples(200)
@given(plain, plain, plain, plain, readable)
def test_a_foreign_event_is_known_by_source_and_id_alone(
    source: str, identity: str, other_source: str, other: str, data: Any
) -> None:
    """Two documents are one event exactly if source and id are equal, and none can name files or blobs of Ion's."""
    document = {
        "specversion": "1.0",
        "type": "t",
        "dataref": "job/1/x/data/a",
        "correlationid": "flow",
        "parentid": "p",
    }
    ours = decode(written({**document, "source": source, "id": identity}))
    theirs = decode(written({**document, "source": other_source, "id": other, "subject": "other"}))
    assert (ours.id == theirs.id) == ((source, identity) == (other_source, other))
    assert (ours.origid, ours.files, ours.dataref, ours.parent_id) == (identity, (), "", "")
    claimed = {"files": [{"path": "a", "blob": "job/1/x/data/a", "size": 1}], "more": str(data)}
    assert decode(written({**document, "source": source, "id": identity, "data": claimed})).data == claimed


# ---- the original -----------------------------------------------------------------------------------------------

letters = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
pairs = st.lists(st.fixed_dictionaries({"key": letters | st.just("files"), "value": letters}), max_size=4)
contexts = st.fixed_dictionaries(
    {"eventId": uuids | plain},
    optional={
        "name": letters,
        "correlationId": letters,
        "parentEventId": letters,
        "documentType": st.just("eventMeta"),
        "anything": readable,
    },
)


@examples(300)
@given(contexts, pairs | st.none(), readable)
@example({"eventId": "e", "name": "frontapi", "parentEventId": "frontapi"}, None, None)
def test_any_document_of_the_original_keeps_its_meaning(context: dict[str, Any], said: Any, stages: Any) -> None:
    """Ids, flow, parent and key/values are what they were; what it has no field for is found anew in the same way."""
    raw = written({"context": context, "type": "photo", "previousStages": stages, "data": said})
    event = decode(raw)
    assert event == decode(raw) == decode(encode(event))
    identity, name = context["eventId"], context.get("name", "")
    root = name != "" and name == context.get("parentEventId", "")
    assert event.source == (gateway_source(name) if root else module_source(name))
    if ids.is_uuid(identity):
        assert (event.id, event.origid) == (identity, "")
    else:
        assert (event.id, event.origid) == (ids.foreign_event_id(event.source, identity), identity)
    assert event.correlation_id == (context.get("correlationId") or event.id)
    assert event.parent_id == context.get("parentEventId", "")
    assert event.data == {pair["key"]: pair["value"] for pair in said or ()}
    assert (event.files, event.hops, trace.parse(event.traceparent) is None) == ((), 0, False)
