"""Filters against a slow evaluator that is written from their definition, over the event as it goes on the wire."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.profile import examples, one_sentence

from ion.errors import InvalidError
from ion.messaging import codec
from ion.messaging.filters import DEPTH_MOST, compile_filters
from ion.model import ids
from ion.model.event import Event

Filter = Mapping[str, Any]

# Few letters, so that a text is often the beginning or the end of another, and a key of another key.
short = st.text("ab.", max_size=4)
filled = st.text("ab.", min_size=1, max_size=4)
keys = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", ".", "", "é"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | short | st.sampled_from(['"', "é", "💥", 0.5, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Events that can be inside Ion, with much in common."""
    origid = draw(st.just("") | filled)
    source = "ion:module/a" if not origid else draw(st.sampled_from(["a", "ab"]))
    return Event(
        id=ids.foreign_event_id(source, origid) if origid else str(ids.NAMESPACE),
        type=draw(st.sampled_from(["a", "ab", "a.b"])),
        source=source,
        correlation_id=draw(filled),
        parent_id=draw(short),
        time=draw(st.datetimes(timezones=st.just(UTC))),
        subject=draw(short),
        traceparent=draw(st.just("") | st.just("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
        origid=origid,
        hops=draw(st.integers(1, 12)),
        data=draw(st.dictionaries(keys, values, max_size=4) | values),
        dataref=draw(st.just("") | filled),
    )


# ---- the slow evaluator -----------------------------------------------------------------------------------------

ATTRIBUTES = (
    *("id", "type", "source", "subject", "time", "specversion", "datacontenttype", "correlationid", "parentid"),
    *("traceparent", "origid", "hops", "dataref"),
)


def passes(wanted: Filter, event: Event) -> bool:
    """What the definition says of one filter, step by step and from the JSON of the event alone."""
    ((dialect, argument),) = wanted.items()
    match dialect:
        case "all":
            return sum(passes(one, event) for one in argument) == len(argument)
        case "any":
            return sum(passes(one, event) for one in argument) > 0
        case "not":
            return passes(argument, event) is False
    return [name for name, text in argument.items() if not holds(dialect, attribute(event, name), text)] == []


def holds(dialect: str, value: str | None, text: str) -> bool:
    if value is None or len(text) > len(value):
        return False
    match dialect:
        case "exact":
            return list(value) == list(text)
        case "prefix":
            return all(value[at] == letter for at, letter in enumerate(text))
        case _:
            return all(value[-1 - at] == letter for at, letter in enumerate(reversed(text)))


def attribute(event: Event, name: str) -> str | None:
    """An attribute as text, None if the document has none of that name."""
    if not name.startswith("data."):
        value = json.loads(codec.encode(event)).get(name)
        return None if value is None else str(value)
    found, value = at(event.data, name.split(".")[1:])
    if not found:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def at(data: Any, parts: list[str]) -> tuple[bool, Any]:
    """What stands at a path; the rest of the path as one key goes first, else its first part leads on."""
    if not isinstance(data, dict):
        return False, None
    whole = ".".join(parts)
    if whole in data:
        return True, data[whole]
    if len(parts) == 1 or parts[0] not in data:
        return False, None
    return at(data[parts[0]], parts[1:])


# ---- filters near an event --------------------------------------------------------------------------------------


paths = st.lists(st.sampled_from(["a", "b", "é"]), min_size=1, max_size=3).map(lambda parts: f"data.{'.'.join(parts)}")
pieces = st.tuples(
    st.sampled_from(ATTRIBUTES) | paths,
    st.sampled_from([(0, None), (0, 1), (0, 3), (-1, None), (-2, None), (1, 2)]),
    st.sampled_from(["", "", "", "a"]),
)
leaves = st.tuples(st.sampled_from(["exact", "prefix", "suffix"]), st.lists(pieces, min_size=1, max_size=2))
plans = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=6,
)
"""Filters that do not know their event yet: instead of a text they say which piece of the event's own it is."""


def near(plan: Any, event: Event) -> Filter:
    """The filter that a plan makes for an event; it holds about every other time."""
    dialect, argument = plan
    match dialect:
        case "not":
            return {dialect: near(argument, event)}
        case "all" | "any":
            return {dialect: [near(one, event) for one in argument]}
    tests = {}
    for name, (start, end), more in argument:
        tests[name] = (attribute(event, name) or "a")[start:end] + more or "b"
    return {dialect: tests}


@examples(400)
@given(events(), st.lists(plans, max_size=3))
def test_filters_decide_as_they_are_defined(event: Event, planned: list[Any]) -> None:
    """Any combination over any attribute and any path into the data agrees with the definition."""
    wanted = [near(plan, event) for plan in planned]
    assert compile_filters(wanted)(event) is all(passes(one, event) for one in wanted)


@examples(100)
@given(events(), plans)
def test_a_filter_outlives_the_wire(event: Event, plan: Any) -> None:
    """An event that went over a bus starts the same jobs as before."""
    question = compile_filters([near(plan, event)])
    assert question(codec.decode(codec.encode(event))) is question(event)


DIALECTS = st.sampled_from(["exact", "prefix", "suffix", "all", "any", "not", "sql", "exakt", ""])
NAMES = st.sampled_from(["type", "data.a", "data.", "data..a", "hop", "a, b"])
mistaken = st.recursive(
    values | st.sampled_from([0.5, "type"]),
    lambda inner: st.dictionaries(DIALECTS | NAMES, inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@examples(200)
@given(st.lists(mistaken, max_size=2), events())
def test_anything_is_a_filter_or_one_sentence(wanted: list[Any], event: Event) -> None:
    """What is not a filter is refused in one sentence when it is compiled; what is one answers for any event."""
    try:
        question = compile_filters(wanted)
    except InvalidError as error:
        one_sentence(error)
        return
    assert question(event) in (True, False)


@examples(60)
@given(st.integers(1, 2 * DEPTH_MOST), st.sampled_from(["not", "all", "any"]))
def test_only_so_many_filters_within_another_are_taken(depth: int, dialect: str) -> None:
    """The bound on nesting is the same for every combination, and is told in one sentence."""
    wanted: Any = {"exact": {"type": "a"}}
    for _ in range(depth - 1):
        wanted = {dialect: wanted if dialect == "not" else [wanted]}
    refused = True
    with suppress(InvalidError):
        compile_filters([wanted])
        refused = False
    assert refused == (depth > DEPTH_MOST)
