"""Which events a subscription wants."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.errors import InvalidError
from ion.messaging.filters import ATTRIBUTES, DEPTH_MOST, compile_filters
from ion.model.event import Event

EVENT = Event(
    id="0d5cf2c1-7d1c-4a5e-9d3e-0a4f5b6c7d8e",
    type="photo",
    source="ion:module/camera",
    correlation_id="flow-7",
    parent_id="p",
    time=datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
    subject="holiday/a.jpg",
    hops=2,
    data={
        "kind": "photo",
        "size": 12,
        "big": True,
        "none": None,
        "deep": {"er": {"x": "y"}, "list": [1, "a"]},
        "a.b": "dots",
    },
)
Filter = Mapping[str, Any]

leaves = st.builds(
    lambda dialect, attribute, text: {dialect: {attribute: text}},
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.sampled_from(["id", "type", "subject", "origid", "hops", "data.kind", "data.size", "data.nothing"]),
    st.sampled_from(["photo", "p", "o", "2", "12", "holiday/a.jpg", ".jpg", "x"]),
)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.builds(lambda f: {"not": f}, inner)
        | st.builds(lambda fs: {"all": fs}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda fs: {"any": fs}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=8,
)


def matches(wanted: Sequence[Filter], event: Event) -> bool:
    return compile_filters(wanted)(event)


def passes(*wanted: Filter) -> bool:
    return matches(wanted, EVENT)


@pytest.mark.parametrize(
    "wanted",
    [
        {"exact": {"type": "photo"}},
        {"exact": {"type": "photo", "correlationid": "flow-7"}},
        {"prefix": {"subject": "holiday/"}},
        {"suffix": {"subject": ".jpg"}},
        {"prefix": {"time": "2024-05-01T12:30"}},
        {"exact": {"source": "ion:module/camera", "hops": "2", "parentid": "p", "specversion": "1.0"}},
        {"exact": {"data.kind": "photo"}},
        {"exact": {"data.size": "12"}},
        {"exact": {"data.big": "true"}},
        {"exact": {"data.none": "null"}},
        {"exact": {"data.deep.er.x": "y"}},
        {"exact": {"data.deep.er": '{"x":"y"}'}},
        {"suffix": {"data.deep.list": ',"a"]'}},
        {"exact": {"data.a.b": "dots"}},
        {"any": [{"exact": {"type": "x"}}, {"exact": {"type": "photo"}}]},
        {"all": [{"prefix": {"type": "p"}}, {"suffix": {"type": "o"}}]},
        {"not": {"exact": {"type": "x"}}},
    ],
)
def test_a_filter_that_holds_passes(wanted: Filter) -> None:
    """Attributes by their names on the wire, data by its path, and combinations of them."""
    assert passes(wanted)
    assert not passes({"not": wanted})


@pytest.mark.parametrize(
    "wanted",
    [
        {"exact": {"type": "Photo"}},
        {"exact": {"type": "photo", "subject": "b"}},
        {"prefix": {"subject": "a.jpg"}},
        {"exact": {"data.size": "012"}},
        {"exact": {"data.big": "True"}},
        {"exact": {"data.deep.er.x.y": "y"}},
        {"any": [{"exact": {"type": "x"}}]},
        {"all": [{"prefix": {"type": "p"}}, {"suffix": {"type": "x"}}]},
    ],
)
def test_a_filter_that_does_not_hold_does_not_pass(wanted: Filter) -> None:
    """Comparison minds case, and every named attribute must hold."""
    assert not passes(wanted)


@pytest.mark.parametrize(
    "attribute", ["origid", "dataref", "traceparent", "data.nothing", "data.kind.deeper", "data.deep.no"]
)
@pytest.mark.parametrize("dialect", ["exact", "prefix", "suffix"])
def test_a_missing_attribute_never_matches_and_its_not_does(dialect: str, attribute: str) -> None:
    """What the event lacks is equal to nothing."""
    assert not passes({dialect: {attribute: "x"}})
    assert passes({"not": {dialect: {attribute: "x"}}})


def test_without_filters_every_event_passes() -> None:
    """A subscription by type alone wants all events of the type."""
    assert passes()
    assert matches((), EVENT)


def test_all_filters_of_a_subscription_must_pass() -> None:
    """Several filters are combined as by `all`."""
    assert not passes({"exact": {"type": "photo"}}, {"exact": {"type": "x"}})
    assert not matches([{"exact": {"type": "photo"}}, {"exact": {"type": "x"}}], EVENT)
    assert matches([{"exact": {"type": "photo"}}], EVENT)


def test_data_that_is_no_object_has_no_keys() -> None:
    """An event may carry any JSON value as its data."""
    for data in (None, 3, "text", [1]):
        event = Event(id="i", type="t", source="s", correlation_id="c", parent_id="p", time=EVENT.time, data=data)
        assert not matches([{"exact": {"data.kind": "x"}}], event)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"exakt": {"type": "x"}}, "unknown filter dialect 'exakt'; did you mean 'exact'?"),
        ({"sql": "type = 'x'"}, "the filter dialect 'sql' is not supported"),
        ({"exact": {"subjct": "x"}}, "a filter names the unknown attribute 'subjct'; did you mean 'subject'?"),
        ({"exact": {"data.": "x"}}, "a filter names the unknown attribute 'data.'"),
        ({"exact": {"data..x": "x"}}, "a filter names the unknown attribute 'data..x'"),
        ({"exact": {"type": ""}}, "the value of 'type' in the filter 'exact' must not be empty"),
        ({"exact": {"data.n": 3}}, "the value of 'data.n' in the filter 'exact' must be text, not 3"),
        ({"exact": {}}, "the filter 'exact' needs attributes and their text"),
        ({"prefix": "x"}, "the filter 'prefix' needs attributes and their text"),
        ({"all": []}, "the filter 'all' needs a list of at least one filter"),
        ({"any": {"exact": {"type": "x"}}}, "the filter 'any' needs a list of at least one filter"),
        ({"not": []}, "a filter must be an object such as"),
        ({"not": {}}, "a filter has exactly one dialect, not 0"),
        ({"exact": {"type": "x"}, "prefix": {"type": "x"}}, "a filter has exactly one dialect, not 2"),
        ("type", "a filter must be an object such as"),
    ],
)
def test_a_malformed_filter_is_refused_when_compiled(wanted: Any, expected: str) -> None:
    """One sentence, with the nearest name where a name is unknown."""
    with pytest.raises(InvalidError) as caught:
        compile_filters([wanted])
    assert str(caught.value).startswith(expected)


def test_filters_nested_too_deep_are_refused() -> None:
    """Nesting is bounded, so that no filter can exhaust the stack."""
    wanted: dict[str, Any] = {"exact": {"type": "x"}}
    for _ in range(DEPTH_MOST):
        wanted = {"not": wanted}
    with pytest.raises(InvalidError, match="nested deeper"):
        compile_filters([wanted])


@given(filters, filters)
def test_de_morgan_holds(one: Filter, other: Filter) -> None:
    """Not both is one that is not; not either is both that are not."""
    assert passes({"not": {"all": [one, other]}}) == passes({"any": [{"not": one}, {"not": other}]})
    assert passes({"not": {"any": [one, other]}}) == passes({"all": [{"not": one}, {"not": other}]})


@given(filters)
def test_not_twice_is_nothing(wanted: Filter) -> None:
    """A filter and its double negation agree, and a filter and its negation never do."""
    assert passes({"not": {"not": wanted}}) == passes(wanted)
    assert passes({"any": [wanted, {"not": wanted}]})
    assert not passes(wanted, {"not": wanted})


@given(st.lists(filters, max_size=4))
def test_a_list_of_filters_is_their_all(wanted: list[Filter]) -> None:
    """Compiled together, and each by itself, filters agree."""
    assert passes(*wanted) == all(passes(each) for each in wanted)
    if wanted:
        assert passes({"all": wanted}) == passes(*wanted)


@given(st.sampled_from(sorted(ATTRIBUTES)), st.text(min_size=1), st.text())
def test_exact_implies_prefix_and_suffix(attribute: str, value: str, more: str) -> None:
    """What is equal begins and ends so; what is longer is neither equal nor a beginning."""
    event = Event(id="i", type="t", source="s", correlation_id="c", parent_id="p", time=EVENT.time, data={"k": value})
    for dialect in ("exact", "prefix", "suffix"):
        assert matches([{dialect: {"data.k": value}}], event)
    assert matches([{"exact": {"data.k": value + more}}], event) == (not more)
    assert matches([{"prefix": {"data.k": value + more}}], event) == (not more)
    read = ATTRIBUTES[attribute](EVENT)
    if read:
        assert passes(
            {"exact": {attribute: read}}, {"prefix": {attribute: read[:1]}}, {"suffix": {attribute: read[-1:]}}
        )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["exact", "not", "all", "any", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.lists(json_values, max_size=3))
def test_anything_compiles_or_is_refused(wanted: list[Any]) -> None:
    """No JSON value ends in another error, when compiled or when asked."""
    try:
        question = compile_filters(wanted)
    except InvalidError:
        return
    assert question(EVENT) in (True, False)
