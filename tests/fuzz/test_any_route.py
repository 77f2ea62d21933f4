"""Where jobs go, for any rules, events and waits: exactly where a plain reading of the rules says."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.profile import examples

from ion.dispatcher.routing import Way, decide, lines_of, place_of, route_of, rules_of
from ion.messaging.filters import compile_filters
from ion.messaging.rules import aim, condition, places
from ion.model.event import Event, FileRef
from ion.model.module import Module, Rule
from ion.testing.conformance.bus_harness import made

PROVIDERS = ("local", "kubernetes", "azurebatch")
FILTERS: tuple[dict[str, Any], ...] = (
    {"exact": {"data.kind": "video"}},
    {"not": {"exact": {"data.kind": "video"}}},
    {"any": [{"suffix": {"subject": ".jpg"}}, {"prefix": {"data.kind": "p"}}]},
)
WAITS = (0.0, 1.0, 60.0, 3600.0)
SIZES = (0, 1, 1000, 2**30)

rules = st.builds(
    Rule,
    filters=st.lists(st.sampled_from(FILTERS), max_size=2).map(tuple),
    size_least=st.sampled_from(SIZES),
    size_most=st.none() | st.sampled_from(SIZES),
    waited_s=st.sampled_from(WAITS),
    provider=st.sampled_from(("", *PROVIDERS)),
    priority=st.integers(-3, 3),
)
modules = st.builds(
    Module, name=st.just("m"), provider=st.sampled_from(PROVIDERS), route=st.lists(rules, max_size=5).map(tuple)
)
waits = st.sampled_from(WAITS) | st.floats(0.0, 1e9)


@st.composite
def events(draw: st.DrawFn) -> Event:
    sizes = draw(st.lists(st.sampled_from((0, 1, 999, 2**29)), max_size=4))
    files = tuple(FileRef(path=f"{n}", blob=f"{n}", size=size) for n, size in enumerate(sizes))
    kind, subject = draw(st.sampled_from(("video", "photo", "text"))), draw(st.sampled_from(("", "a.jpg")))
    return made("photo", files=files, data={"kind": kind}, subject=subject)


def holds(rule: Rule, event: Event, waited_s: float) -> bool:
    """A rule as the documentation has it."""
    size = sum(file.size for file in event.files)
    fits = rule.size_least <= size and (rule.size_most is None or size <= rule.size_most)
    return fits and waited_s >= rule.waited_s and compile_filters(rule.filters)(event)


@examples(300)
@given(modules, events(), waits)
def test_the_first_rule_that_holds_decides(module: Module, event: Event, waited_s: float) -> None:
    """Where none does the module's own provider is it, with no priority."""
    way = decide(module, event, waited_s)
    expected = next((rule for rule in module.route if holds(rule, event, waited_s)), Rule())
    assert (way.provider, way.priority) == (expected.provider or module.provider, expected.priority)
    assert way.rule == 0 or module.route[way.rule - 1] == expected


@examples(300)
@given(modules, events(), waits, waits)
def test_the_way_lasts_until_the_time_that_it_names(module: Module, event: Event, one: float, two: float) -> None:
    """At any moment before that the decision is the same, and at that very moment another."""
    early, late = sorted((one, two))
    way = decide(module, event, early)
    assert way.until_s is None or way.until_s > early
    if way.until_s is None or late < way.until_s:
        assert decide(module, event, late) == way
    if way.until_s is not None:
        assert decide(module, event, way.until_s).rule != way.rule


@examples(200)
@given(modules, events(), waits)
def test_a_route_tells_its_place(module: Module, event: Event, waited_s: float) -> None:
    """What is claimed for a provider is what was sent there, with the priority that was given."""
    way = decide(module, event, waited_s)
    assert place_of(route_of(way, rules_of(module))) == (way.provider, way.priority)
    assert way.provider in module.providers


@examples(200)
@given(st.lists(st.builds(Way, provider=st.sampled_from(PROVIDERS), priority=st.integers(-3, 3))))
def test_lines_hold_every_route_once_the_highest_first(ways: list[Way]) -> None:
    """However many routes there are, each is claimed once, and none of a lower priority before one of a higher."""
    routes = {route_of(way, "12345678") for way in ways}
    lines = lines_of(routes)
    assert sorted(route for line in lines for route in line.routes) == sorted(routes)
    assert [line.priority for line in lines] == sorted((line.priority for line in lines), reverse=True)
    assert len({(line.provider, line.priority) for line in lines}) == len(lines)


@examples(200)
@given(modules, modules)
def test_other_rules_have_other_routes(one: Module, two: Module) -> None:
    """Two modules have the same routes only if they would send every job to the same place."""
    same = (one.provider, one.route) == (two.provider, two.route)
    assert (rules_of(one) == rules_of(two)) == (same or not (one.route or two.route))


@examples(100)
@given(modules)
def test_rules_can_be_shown(module: Module) -> None:
    """Every rule, and wherever the module runs, in one line each."""
    for rule in module.route:
        assert "\n" not in f"{aim(rule, module)} if {condition(rule)}"
        assert rule.provider in aim(rule, module)
    assert all(place in places(module) for place in module.providers) or len(module.providers) == 1
