"""Rules that send some of a module's jobs elsewhere, and priorities, as a pipeline file has them."""

from collections.abc import Callable

import pytest

from ion.config.pipeline import Pipeline
from ion.model.module import Module, Rule

LoadModule = Callable[..., Module]
Refusal = Callable[..., str]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{when: {size: '>1Gi'}, provider: kubernetes}", Rule(size_least=2**30 + 1, provider="kubernetes")),
        ("[{when: {size: '>= 1Gi'}, provider: azurebatch}]", Rule(size_least=2**30, provider="azurebatch")),
        ("[{when: {size: <1000}, priority: -5}]", Rule(size_most=999, priority=-5)),
        ("[{when: {size: ['>1k', '<=2k', '>5']}, priority: 1}]", Rule(size_least=1001, size_most=2000, priority=1)),
        ("[{when: {waited: 10m}, provider: local}]", Rule(waited_s=600.0, provider="local")),
        (
            "[{when: {filters: {exact: {data.kind: video}}, waited: 1s}, provider: kubernetes, priority: 2}]",
            Rule(filters=({"exact": {"data.kind": "video"}},), waited_s=1.0, provider="kubernetes", priority=2),
        ),
    ],
)
def test_a_rule_has_conditions_and_what_follows(module: LoadModule, written: str, expected: Rule) -> None:
    """Sizes are exact to the byte, several comparisons must all hold, and one rule needs no list."""
    assert module("image: i", f"route: {written}").route == (expected,)


def test_rules_keep_their_order_and_name_the_places(module: LoadModule) -> None:
    """The first that holds counts; wherever jobs may run is the module's own provider and theirs."""
    found = module(
        "image: i",
        "provider: kubernetes",
        "priority: 3",
        "route: [{when: {size: <1Mi}, provider: local}, {when: {size: '>1Gi'}, provider: azurebatch}]",
    )
    assert [rule.provider for rule in found.route] == ["local", "azurebatch"]
    assert found.providers == ("kubernetes", "local", "azurebatch")
    assert found.priority == 3


def test_a_profile_takes_rules_away(load: Callable[..., Pipeline]) -> None:
    """So a laptop runs alone what a cluster shares."""
    text = """
        ion: 1
        modules:
          detect: {image: i, command: x, route: {when: {waited: 1m}, provider: kubernetes}}
        profiles:
          laptop: {modules: {detect: {route: null}}}
        """
    assert load(text).modules[0].route
    assert load(text, profile="laptop").modules[0].providers == ("local",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("route: kubernetes", "ion.yaml:5: modules.detect.route must be a mapping, not a single value; its keys: when"),
        ("route: [{provider: local}]", "ion.yaml:5: modules.detect.route[0] lacks the key 'when'; add it"),
        ("route: [{when: {}, provider: local}]", "ion.yaml:5: modules.detect.route[0].when: it says nothing"),
        ("route: [{when: {waited: 1m}}]", "ion.yaml:5: modules.detect.route[0]: it changes nothing; add a provider"),
        (
            "route: [{when: {watied: 1m}, provider: local}]",
            "ion.yaml:5: unknown key 'watied' in modules.detect.route[0].when; did you mean 'waited'?",
        ),
        (
            "route: [{when: {waited: 1m}, povider: local}]",
            "ion.yaml:5: unknown key 'povider' in modules.detect.route[0]; did you mean 'provider'?",
        ),
        (
            "route: [{when: {waited: 1m}, provider: kubernets}]",
            "ion.yaml:5: modules.detect.route[0].provider must be one of local, kubernetes, azurebatch (did you mean",
        ),
        (
            "route: [{when: {size: 1Gi}, provider: local}]",
            "ion.yaml:5: modules.detect.route[0].when.size must be a comparison with a size such as '>1Gi'",
        ),
        ("route: [{when: {size: '>x'}, priority: 1}]", "ion.yaml:5: modules.detect.route[0].when.size must be"),
        ("route: [{when: {size: '<0'}, priority: 1}]", "ion.yaml:5: modules.detect.route[0].when.size must be"),
        (
            "route: [{when: {size: ['>2', '<2']}, priority: 1}]",
            "ion.yaml:5: modules.detect.route[0].when: no size can be all of that",
        ),
        (
            "route: [{when: {filters: [{exat: {id: x}}]}, priority: 1}]",
            "ion.yaml:5: modules.detect.route[0].when.filters[0]: unknown filter dialect 'exat'; did you mean 'exact'?",
        ),
        ("priority: high", "ion.yaml:5: modules.detect.priority must be a whole number from -1000000 to 1000000"),
        (
            "route: [{when: {waited: 1m}, provider: kubernetes}]",
            "ion.yaml:3: modules.detect: a rule sends jobs to kubernetes, which needs an image; add it, or remove",
        ),
    ],
)
def test_nonsense_is_refused_with_its_line(module_refusal: Refusal, line: str, expected: str) -> None:
    """One sentence: where it stands, what it must be, and the nearest name."""
    assert module_refusal("command: x", line).startswith(expected)


def test_a_claim_is_not_mounted_where_a_rule_may_send_a_job(refusal: Refusal) -> None:
    """A module on Kubernetes that is sent here at times needs a folder here."""
    text = (
        "ion: 1\nmounts: {m: {pvc: c}}\nmodules:\n  a: {image: i, provider: kubernetes,"
        " mounts: [{source: m, path: /m}], route: {when: {size: <1Mi}, provider: local}}\n"
    )
    assert "is a pvc, which only Kubernetes has; give it a folder for 'local'" in refusal(text)
