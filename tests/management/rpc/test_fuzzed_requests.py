"""Whatever a client sends, every method refuses it in order or does it: never is it a fault of ours."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import grpc
import msgspec
import pytest
from google.protobuf import descriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.management.rpc.stage import World
from tests.management.rpc.test_translation import structs, values

from ion.management.rpc import original_pb2
from ion.management.rpc.ion_v1_pb2 import EventsCreateRequest
from ion.management.rpc.methods import groups, methods
from ion.management.rpc.serve import serving
from ion.management.rpc.translation import codec_of
from ion.management.verbs.events import NewEvent

FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
DEADLINE_S = 0.5
"""Some calls rightly wait: for an event, for a flow."""
ANSWERS_MOST = 5
ORIGINAL = {
    f"/{service.full_name}/{rpc.name}": rpc.input_type
    for service in original_pb2.DESCRIPTOR.services_by_name.values()
    for rpc in service.methods
}
STREAMING = frozenset(method.path for method in methods() if method.streams)
UPLOAD = "/ion.v1.Events/Create"
PATHS = [*(method.path for method in methods()), *ORIGINAL]
Requests = Sequence[bytes]


def requests(path: str, known: Sequence[str]) -> st.SearchStrategy[Requests]:
    """What is sent to a method: well-formed requests, with ids that exist or any values; broken ones; noise."""
    whole = _upload() if path == UPLOAD else _whole(path, known).map(lambda raw: [raw])
    broken = st.tuples(whole, st.integers(0, 400), st.binary(max_size=4)).map(_broken)
    return st.one_of(whole, whole, broken, st.lists(st.binary(max_size=60), min_size=1, max_size=3))


def _whole(path: str, known: Sequence[str]) -> st.SearchStrategy[bytes]:
    if path in ORIGINAL:
        return _message(ORIGINAL[path], known)
    method = next(one for one in methods() if one.path == path)
    hints = get_type_hints(getattr(groups()[method.group], method.verb))
    assert method.arguments
    fields = {name: _value(hints[name], known) for name in method.arguments.fields}
    make = method.arguments.made
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: make(given).SerializeToString())


def _value(hint: Any, known: Sequence[str]) -> st.SearchStrategy[Any]:
    ids = st.sampled_from(known)
    if hint is str:
        return ids | values(hint)
    return st.lists(ids, max_size=2).map(tuple) if hint == tuple[str, ...] else values(hint)


def _message(kind: descriptor.Descriptor, known: Sequence[str]) -> st.SearchStrategy[bytes]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in kind.fields:
        if field.message_type is not None:
            fields[field.name] = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=2)
        elif field.type == descriptor.FieldDescriptor.TYPE_INT32:
            fields[field.name] = st.integers(-3, 9) | st.integers(-(2**31), 2**31 - 1)
        else:
            words = st.sampled_from(["file:/bin/true", "image:1", "local", "Kubernetes", "face,photo", "a,,b", "tag"])
            fields[field.name] = st.sampled_from(known) | words | st.text(max_size=9)
    made: type[Message] = getattr(original_pb2, kind.name)
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: made(**given).SerializeToString())


def _upload() -> st.SearchStrategy[Requests]:
    def event(value: NewEvent) -> bytes:
        made = EventsCreateRequest()
        codec_of(NewEvent).fill(value, made.event)
        return made.SerializeToString()

    names = st.sampled_from(["a", "a/b", "../x", ""]) | st.text(max_size=9)
    heard = st.tuples(structs(NewEvent), st.sampled_from(["photo", "x"])).map(
        lambda both: msgspec.structs.replace(both[0], type=both[1], gateway="cli", force=True)
    )
    first = (structs(NewEvent) | heard).map(event)
    parts = st.one_of(
        names.map(lambda name: EventsCreateRequest(file=name).SerializeToString()),
        st.binary(max_size=9).map(lambda content: EventsCreateRequest(content=content).SerializeToString()),
        first,
    )
    end = EventsCreateRequest(end=True).SerializeToString()
    return st.tuples(first, st.lists(parts, max_size=4)).map(lambda both: [both[0], *both[1], end])


def _broken(given: tuple[Requests, int, bytes]) -> Requests:
    (first, *rest), at, noise = given
    return [first[:at] + noise + first[at + len(noise) :], *rest]


def status_of(channel: Any, path: str, sent: Requests) -> tuple[grpc.StatusCode, str | None]:
    """How a call ends; of a stream the first answers are read."""
    try:
        if path == UPLOAD:
            channel.stream_unary(path)(iter(sent), timeout=DEADLINE_S)
        elif path in STREAMING:
            answers: Any = channel.unary_stream(path)(sent[0], timeout=DEADLINE_S)
            for _, _answer in zip(range(ANSWERS_MOST), answers, strict=False):
                pass
            answers.cancel()
        else:
            channel.unary_unary(path)(sent[0], timeout=DEADLINE_S)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def fuzz(port: int, path: str, known: Sequence[str]) -> Mapping[grpc.StatusCode, int]:
    """Sends a method all kinds of requests; how often each status came."""
    seen: dict[grpc.StatusCode, int] = {}

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(sent=requests(path, known))
    def tried(sent: Requests) -> None:
        code, details = status_of(channel, path, sent)
        assert code not in FAULTS, f"{path} {sent!r}: {details}"
        seen[code] = seen.get(code, 0) + 1

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        tried()
    return seen


async def test_no_request_is_a_fault_of_ours(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Random bytes, random fields and damaged requests to every method never end as INTERNAL or UNKNOWN."""
    known = ["", world.flow, world.root, world.detect, world.broken[:6], "detect", "broken", "photo", "out", "face.txt"]
    async with serving(lambda _: world.local, spool=tmp_path / "spool", grace_s=60.0) as port:
        for path in PATHS:
            seen = await asyncio.to_thread(fuzz, port, path, known)
            assert seen
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert not list((tmp_path / "spool").iterdir())
