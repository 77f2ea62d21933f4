"""Events as CloudEvents documents."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ion.errors import InvalidError
from ion.messaging import trace
from ion.messaging.codec import DEPTH_MOST, decode, encode, gateway_source, module_source
from ion.model import ids
from ion.model.event import Event, FileRef

OWN = Event(
    id="0d5cf2c1-7d1c-4a5e-9d3e-0a4f5b6c7d8e",
    type="face_detected",
    source=module_source("detect"),
    correlation_id="5f0e4b5a-1111-4a5e-9d3e-0a4f5b6c7d8e",
    parent_id="9a9b9c9d-2222-4a5e-9d3e-0a4f5b6c7d8e",
    time=datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    subject="a.jpg",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    hops=2,
    files=(FileRef(path="a b.png", blob="job/1/x/a b.png", size=12, sha256="00"),),
    data={"k": "v"},
)
FOREIGN: dict[str, Any] = {"specversion": "1.0", "id": "17", "source": "https://example.org/shop", "type": "order"}
ORIGINAL: dict[str, Any] = {
    "context": {
        "name": "detect",
        "eventId": "5f0e4b5a-3333-4a5e-9d3e-0a4f5b6c7d8e",
        "correlationId": "run-7",
        "parentEventId": "9a9b9c9d-2222-4a5e-9d3e-0a4f5b6c7d8e",
        "documentType": "eventMeta",
    },
    "type": "face_detected",
    "previousStages": ["download"],
    "data": [{"key": "colour", "value": "blue"}],
}

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

# ---- any event --------------------------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
) | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("files"), inner, max_size=4)
    ),
    max_leaves=12,
)
file_refs = st.builds(
    FileRef, path=st.text(), blob=st.text(), size=st.integers(0, 2**62), sha256=st.text("0123456789abcdef")
)
printable = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
types = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=255).filter(str.isprintable)
times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001  the same
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45))),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event that can be inside Ion: its own, or one made elsewhere."""
    origid = draw(printable)
    source = draw(printable)
    foreign = draw(st.booleans())
    return Event(
        id=ids.foreign_event_id(source, origid) if foreign else str(draw(st.uuids())),
        type=draw(types),
        source=source if foreign else "ion:" + source,
        correlation_id=draw(printable),
        parent_id=draw(printable | st.just("")),
        time=draw(times),
        subject=draw(st.text()),
        traceparent=draw(st.just("") | st.just(OWN.traceparent)),
        origid=origid if foreign else draw(st.just("") | printable),
        hops=draw(st.integers(0, 10**6)),
        files=tuple(draw(st.lists(file_refs, max_size=3))),
        data=draw(st.dictionaries(st.text(max_size=8), json_values, max_size=4) | json_values),
        dataref=draw(st.just("") | st.text()),
    )


@PATIENT
@given(event=events())
def test_what_is_encoded_comes_back_equal(event: Event) -> None:
    """Any event, with whatever data and files, survives the wire unchanged."""
    assert decode(encode(event)) == event


@PATIENT
@given(raw=st.binary())
def test_any_bytes_decode_or_are_refused(raw: bytes) -> None:
    """Nothing but InvalidError comes out of arbitrary bytes."""
    with suppress(InvalidError):
        decode(raw)


attributes = st.sampled_from([name for name in msgspec.json.decode(encode(OWN)) if name != "data"])
documents = st.builds(
    lambda base, changes, data: {**base, **changes, **data},
    st.sampled_from([FOREIGN, ORIGINAL, json.loads(encode(OWN)), {}]),
    st.dictionaries(
        attributes | st.sampled_from(["dataref", "wrapped", "context", "data_base64", "origid"]),
        json_values,
        max_size=3,
    ),
    st.fixed_dictionaries({}, optional={"data": json_values}),
)


@PATIENT
@given(document=documents | json_values)
def test_any_json_decodes_to_an_event_that_lasts_or_is_refused(document: Any) -> None:
    """A document is refused as InvalidError, or gives an event that the wire carries on unchanged."""
    try:
        event = decode(json.dumps(document).encode())
    except InvalidError:
        return
    assert decode(encode(event)) == event


# ---- Ion's own --------------------------------------------------------------------------------------------------


def test_the_document_is_plain_cloudevents() -> None:
    """Standard names, extensions in lower case, nothing empty, and the files stand in the data."""
    document = json.loads(encode(msgspec.structs.replace(OWN, subject="")))
    assert document == {
        "specversion": "1.0",
        "id": OWN.id,
        "source": "ion:module/detect",
        "type": "face_detected",
        "time": "2024-05-01T12:30:00Z",
        "datacontenttype": "application/json",
        "correlationid": OWN.correlation_id,
        "parentid": OWN.parent_id,
        "traceparent": OWN.traceparent,
        "hops": 2,
        "data": {
            "k": "v",
            "files": [{"path": "a b.png", "blob": "job/1/x/a b.png", "size": 12, "sha256": "00"}],
        },
    }
    assert all(name.isalnum() and name.islower() for name in document)


def test_sources_name_module_and_gateway() -> None:
    """A source is a URI reference whatever the name is."""
    assert module_source("detect") == "ion:module/detect"
    assert gateway_source("front api/2") == "ion:gateway/front%20api%2F2"


@pytest.mark.parametrize("data", [{"files": "mine", "k": 1}, ["list"], None, "text"])
@pytest.mark.parametrize("files", [(), OWN.files])
def test_data_with_files_of_its_own_is_kept_apart(data: Any, files: tuple[FileRef, ...]) -> None:
    """Data that is no object, or that uses the reserved key, neither loses nor gains anything."""
    event = msgspec.structs.replace(OWN, data=data, files=files)
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": "17"}, "its id is not one that Ion gives"),
        ({"source": "https://example.org"}, "its id is not one that Ion gives"),
        ({"correlation_id": ""}, "its id is not one that Ion gives"),
        ({"type": ""}, "its type must have 1 to 255"),
        ({"type": "two words"}, "its type must have"),
        ({"type": "line\nbreak"}, "its type must have"),
        ({"type": "x" * 256}, "its type must have"),
        ({"correlation_id": "x" * 256}, "its correlation id has more than 255"),
        ({"time": datetime(2024, 5, 1)}, "no time zone"),  # noqa: DTZ001  the fault itself
        ({"parent_id": "a\0b"}, "control character"),
        ({"hops": -1}, "negative"),
        ({"data": {"n": float("nan")}}, "not finite"),
        ({"data": {"n": [1, float("inf")]}}, "not finite"),
        ({"data": {"o": object()}}, "cannot be written as JSON"),
        ({"data": "\ud800"}, "cannot be written as JSON"),
        ({"origid": "\ud800", "source": "x"}, "cannot be written as JSON"),
    ],
)
def test_an_event_that_would_not_come_back_is_not_encoded(changes: dict[str, Any], fault: str) -> None:
    """What `decode` would refuse or read otherwise is refused before it is sent."""
    with pytest.raises(InvalidError, match=fault):
        encode(msgspec.structs.replace(OWN, **changes))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return value


def test_data_is_as_deep_as_every_host_can_read() -> None:
    """The bound on depth is the same for sender and reader, and does not hang on the stack."""
    deepest = msgspec.structs.replace(OWN, data=nested(DEPTH_MOST), files=())
    assert decode(encode(deepest)) == deepest
    for depth in (DEPTH_MOST + 1, 1_000, 100_000):
        with pytest.raises(InvalidError, match=r"deep|recursion"):
            encode(msgspec.structs.replace(OWN, data=nested(depth)))
        raw = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":%s}'
        with pytest.raises(InvalidError, match="deep"):
            decode(raw % (b"[" * (depth - 1) + b"1" + b"]" * (depth - 1)))


# ---- made elsewhere ---------------------------------------------------------------------------------------------


def read(document: Any, **changes: Any) -> Event:
    return decode(json.dumps({**document, **changes}).encode())


def test_a_foreign_event_gets_what_it_lacks_and_always_the_same() -> None:
    """Its id is derived from source and id, its flow and trace begin with it, and a second reading changes nothing."""
    event = read(FOREIGN, ignored="extension")
    assert event == read(FOREIGN)
    assert event.id == ids.foreign_event_id("https://example.org/shop", "17")
    assert event.origid == "17"
    assert (event.correlation_id, event.parent_id, event.hops) == (event.id, "", 0)
    assert event.time == datetime(1970, 1, 1, tzinfo=UTC)
    assert trace.parse(event.traceparent)
    assert event.data == {}


def test_a_foreign_events_own_trace_time_and_subject_are_kept() -> None:
    """What CloudEvents has attributes for is not made up."""
    event = read(FOREIGN, traceparent=OWN.traceparent, time="2024-05-01T14:30:00+02:00", subject="s", data=[1])
    assert (event.traceparent, event.time, event.subject, event.data) == (OWN.traceparent, OWN.time, "s", [1])


def test_a_foreign_event_keeps_its_id_on_its_way_through_ion() -> None:
    """Once it has an id of Ion's, sending it on does not derive another."""
    event = msgspec.structs.replace(read(FOREIGN), parent_id="frontapi", hops=1)
    assert decode(encode(event)) == event


@pytest.mark.parametrize("changes", [{"source": "elsewhere"}, {"id": "17"}, {"correlationid": None}])
def test_an_event_that_only_looks_like_ions_is_foreign(changes: dict[str, Any]) -> None:
    """Without Ion's source, a UUID and a correlation id together, an event cannot name files, a parent or hops."""
    event = read(json.loads(encode(OWN)), **changes)
    assert event.id not in (OWN.id, "17")
    assert (event.files, event.parent_id, event.hops) == ((), "", 0)
    assert event.data["files"][0]["path"] == "a b.png"
    assert decode(encode(event)) == event


def test_binary_data_stays_base64() -> None:
    """It becomes an object that says what it is."""
    event = read(FOREIGN, data_base64="AAEC", datacontenttype="image/png")
    assert event.data == {"datacontenttype": "image/png", "data_base64": "AAEC"}


def test_a_foreign_claim_check_is_data_and_no_blob_of_ions() -> None:
    """A reference from elsewhere is handed to the module as data, and never read from the blob store."""
    event = read(FOREIGN, dataref="https://example.org/big.json")
    assert event.dataref == ""
    assert event.data["dataref"] == "https://example.org/big.json"


# ---- the original -----------------------------------------------------------------------------------------------


def test_the_originals_json_is_read() -> None:
    """Its ids, type and key/values keep their meaning, and the event can be sent on."""
    event = read(ORIGINAL)
    context = ORIGINAL["context"]
    assert event.id == context["eventId"]
    assert (event.correlation_id, event.parent_id) == ("run-7", context["parentEventId"])
    assert (event.type, event.source, event.data) == ("face_detected", "ion:module/detect", {"colour": "blue"})
    assert decode(encode(event)) == event


def test_the_originals_root_comes_from_its_gateway() -> None:
    """A name equal to the parent's is a gateway; an id that is no UUID is kept beside a derived one; data may lack."""
    context = {"name": "frontapi", "eventId": "e1", "correlationId": "c", "parentEventId": "frontapi"}
    event = read({"context": context, "type": "frontapi.new_link"})
    assert event.source == "ion:gateway/frontapi"
    assert event.id == ids.foreign_event_id(event.source, "e1")
    assert (event.origid, event.data) == ("e1", {})
    assert decode(encode(event)) == event


# ---- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b'{"specversion":"1.0","id":"\xff"}', "(?i)utf-8"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `specversion`"),
        (b'{"specversion":"1.0"}', "missing required field `id`"),
        (b'{"specversion":"0.3","id":"1","source":"s","type":"t"}', "specversion '0.3'"),
        (b'{"specversion":"0.3","specversion":"1.0","id":"1","source":"s","type":"t"}', "twice"),
        (b'["specversion","specversion"]', "Expected `object`"),
        (b'{"specversion":"1.0","id":1,"source":"s","type":"t"}', "Expected `str`"),
        (b'{"specversion":"1.0","id":"","source":"s","type":"t"}', "empty"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"a b"}', "its type must have"),
        (b'{"specversion":"1.0","id":"1\\u0000","source":"s","type":"t"}', "control character"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2024-05-01T00:00:00"}', "no time zone"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","time":"0001-01-01T00:00:00+10:00"}', "out of range"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","time":"now"}', "RFC3339"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":NaN}', "malformed"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":1e999}', "out of range"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":%s}' % (b"9" * 5000), "out of range"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":"\\ud800"}', "cannot be read"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":"AA=="}', "both"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"%%%"}', "base64"),
        (b'{"context":{"eventId":"1","correlationId":"%s"},"type":"t"}' % (b"x" * 256), "more than 255"),
        (b'{"context":{"name":"x"},"type":"t"}', "missing required field `eventId`"),
        (b'{"context":{"eventId":""},"type":"t"}', "empty `eventId`"),
        (b'{"context":{"eventId":"1"},"type":"t","data":[{"key":"k","value":1}]}', "Expected `str`"),
        (b'{"context":{"eventId":"1"}}', "missing required field `type`"),
    ],
)
def test_what_is_no_event_is_refused_in_one_sentence(raw: bytes, fault: str) -> None:
    """The sentence names the fault."""
    with pytest.raises(InvalidError, match=fault) as caught:
        decode(raw)
    assert not str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"data": {"files": [{"path": "a"}]}}, "missing required field `blob`"),
        ({"data": {"files": "a.png"}}, "Expected `array`"),
        ({"wrapped": True}, "just `data` and `files`"),
        ({"hops": -1}, "negative"),
        ({"hops": "2"}, "Expected `int"),
    ],
)
def test_a_broken_event_of_ions_is_refused(changes: dict[str, Any], fault: str) -> None:
    """Files, hops and wrapping of Ion's own events are as typed as the rest."""
    with pytest.raises(InvalidError, match=fault):
        read(json.loads(encode(OWN)), **changes)
