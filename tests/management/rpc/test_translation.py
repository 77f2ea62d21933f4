"""Structs become messages and come back as they were."""

import math
import types
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ion.errors import InvalidError
from ion.management.rpc import ion_v1_pb2 as pb
from ion.management.rpc.methods import groups
from ion.management.rpc.translation import codec_of
from ion.management.verbs.events import NewEvent
from ion.model.job import Job
from ion.model.module import Module, Resources, Retries, revise
from ion.ports.ledger import Flow, JobFilter

NUMBERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SINGLE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: NUMBERS,
    float: FLOATS,
    bool: st.booleans(),
    datetime: TIMES,
    Any: JSON,
    types.NoneType: st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a hint allows."""
    if hint in SINGLE:
        return SINGLE[hint]
    parts = [values(part) for part in get_args(hint) if part is not ...]
    match get_origin(hint):
        case kind if kind in (Union, types.UnionType):
            return st.one_of(parts)
        case kind if kind is tuple:
            return st.lists(parts[0], max_size=3).map(tuple)
        case kind if kind in (dict, Mapping):
            return st.dictionaries(*parts, max_size=3)
    if issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    return st.deferred(lambda: structs(hint))


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any value of a struct; fields with defaults are sometimes left out."""
    hints = get_type_hints(kind)
    fields = msgspec.structs.fields(kind)
    must = {one.name: values(hints[one.name]) for one in fields if one.required}
    may = {one.name: values(hints[one.name]) for one in fields if not one.required}
    return st.fixed_dictionaries(must, optional=may).map(lambda given: kind(**given))


def named(hint: Any, found: dict[type, None]) -> None:
    """Every struct that a hint names, and those that they name."""
    is_struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
    if is_struct and hint not in found and Path not in get_type_hints(hint).values():
        found[hint] = None
        for inner in get_type_hints(hint).values():
            named(inner, found)
    for part in get_args(hint):
        named(part, found)


def every_struct() -> Sequence[type[msgspec.Struct]]:
    found: dict[type, None] = {}
    for verbs in groups().values():
        for verb in vars(verbs).values():
            if getattr(verb, "__isabstractmethod__", False):
                for hint in get_type_hints(verb).values():
                    named(hint, found)
    return list(found)


def there_and_back(value: msgspec.Struct) -> object:
    codec = codec_of(type(value))
    return codec.read(codec.message.FromString(codec.made(value).SerializeToString()))


@pytest.mark.parametrize("kind", every_struct(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_struct_comes_back_as_it_was(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    """Whatever a struct of the verbs holds, its message gives the same struct."""
    value = data.draw(structs(kind))
    assert there_and_back(value) == value


def test_what_a_client_leaves_out_means_the_default() -> None:
    """A message with nothing but what is required gives a struct with its defaults, those that are not zero too."""
    assert codec_of(Module).read(pb.Module(name="a")) == Module(name="a")
    assert codec_of(NewEvent).read(pb.NewEvent(type="t")) == NewEvent(type="t")


def test_a_module_keeps_its_revision_on_the_wire() -> None:
    """A module that comes by the wire has the revision that it has where it was read from a file."""
    codec = codec_of(Module)
    module = Module(name="a", command=("true",))
    assert revise(codec.read(codec.made(module))).id == revise(module).id
    sized = Module(name="a", resources=Resources(memory=5), retries=Retries(module=3))
    assert revise(codec.read(codec.made(sized))).id == revise(sized).id
    said = pb.Module(name="a", command=["true"], resources=pb.Resources(), retries=pb.Retries(module=1, lost=20))
    assert revise(codec.read(said)).id == revise(module).id


def test_a_default_that_is_not_zero_can_be_set_to_zero() -> None:
    """Zero, false and empty are told from what is left out."""
    value = Module(name="a", network=False, concurrency=0, timeout_s=0.0, provider="")
    assert there_and_back(value) == value


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (pb.JobFilter(states=["wating"]), "'states' cannot be 'wating': give one of waiting, running"),
        (pb.Flow(correlation_id="c", control="stopped"), "'control' cannot be 'stopped'"),
        (pb.NewEvent(type="t", data="{"), "'data' is no JSON text"),
        (pb.NewEvent(type="t", data="[" * 100_000), "'data' is no JSON text"),
        (pb.Job(id="j", module="m"), "the field 'event' is missing"),
        (pb.Module(name="m", timeout_s=math.nan), "'timeout_s' is nan"),
        (pb.Module(name="m", kubernetes="[]"), "'kubernetes' is no JSON text of what belongs there"),
    ],
)
def test_what_cannot_be_a_struct_is_refused_with_its_field(message: Any, said: str) -> None:
    """A word that is none, a text that is no JSON, a missing part: one sentence names the field."""
    kinds = {"JobFilter": JobFilter, "Flow": Flow, "NewEvent": NewEvent, "Job": Job, "Module": Module}
    with pytest.raises(InvalidError, match=f"^{said.replace('[', '.').replace('{', '.')}"):
        codec_of(kinds[type(message).__name__]).read(message)


def test_a_time_beyond_the_years_is_refused() -> None:
    """A timestamp that is no time of the calendar is a refusal, not a crash."""
    event = pb.NewEvent(type="t")
    event.time.seconds = 10**15
    with pytest.raises(InvalidError, match="'time' is no time between the years 1 and 9999"):
        codec_of(NewEvent).read(event)
