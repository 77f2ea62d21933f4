"""Strategic merge patches over pod templates."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ion.adapters.executors.kubernetes.merge import merge
from ion.errors import InvalidError

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "prepare", "image": "ion"},
            {
                "name": "module",
                "image": "detect",
                "command": ["a", "b"],
                "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
                "resources": {"limits": {"cpu": "2", "memory": "1"}},
                "volumeMounts": [{"name": "ion", "mountPath": "/ion/in"}],
            },
        ],
        "tolerations": [{"key": "old"}],
        "volumes": [{"name": "ion", "emptyDir": {}}],
    },
}


def merged(**spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = merge(TEMPLATE, {"spec": spec})["spec"]
    return made


def module(patch: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = merged(initContainers=[{"name": "module", **patch}])["initContainers"][1]
    return made


def test_mappings_are_merged_key_by_key() -> None:
    """What the patch does not name stays."""
    assert merge(TEMPLATE, {"metadata": {"labels": {"b": "2"}, "annotations": {"c": "3"}}})["metadata"] == {
        "labels": {"a": "1", "b": "2"},
        "annotations": {"c": "3"},
    }


def test_null_takes_a_key_away() -> None:
    """At any depth, also one that is not there."""
    assert "restartPolicy" not in merged(restartPolicy=None, nothing=None)
    assert module({"resources": {"limits": {"cpu": None}}})["resources"] == {"limits": {"memory": "1"}}


def test_containers_are_merged_by_name() -> None:
    """A container that is named gets what the patch says, the others stay as they are."""
    made = merged(initContainers=[{"name": "module", "image": "other"}])["initContainers"]
    assert [(one["name"], one["image"]) for one in made] == [("prepare", "ion"), ("module", "other")]
    assert made[1]["command"] == ["a", "b"]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"env": [{"name": "Y", "value": "3"}]}, [("X", "1"), ("Y", "3")]),
        ({"env": [{"name": "Z", "value": "3"}]}, [("Z", "3"), ("X", "1"), ("Y", "2")]),
        ({"env": [{"name": "X", "$patch": "delete"}]}, [("Y", "2")]),
        ({"env": [{"$patch": "replace"}, {"name": "Z", "value": "3"}]}, [("Z", "3")]),
        ({"env": []}, [("X", "1"), ("Y", "2")]),
    ],
)
def test_variables_are_merged_by_name(patch: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Changed, added, taken away, or all replaced."""
    assert [(one["name"], one["value"]) for one in module(patch)["env"]] == expected


def test_mounts_are_merged_by_their_path_and_volumes_by_name() -> None:
    """Two mounts of one volume are two."""
    mounts = module({"volumeMounts": [{"name": "ion", "mountPath": "/more"}]})["volumeMounts"]
    assert {one["mountPath"] for one in mounts} == {"/ion/in", "/more"}
    assert merged(volumes=[{"name": "ion", "emptyDir": {"sizeLimit": "1"}}])["volumes"] == [
        {"name": "ion", "emptyDir": {"sizeLimit": "1"}}
    ]


def test_retained_keys_are_all_that_stays_of_a_volume() -> None:
    """So a volume changes its kind, of which it may have only one."""
    patch = {"name": "ion", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}
    assert merged(volumes=[patch])["volumes"] == [{"name": "ion", "hostPath": {"path": "/x"}}]


def test_tolerations_and_commands_are_replaced_whole() -> None:
    """Kubernetes has no key to merge them by."""
    assert merged(tolerations=[{"key": "new"}])["tolerations"] == [{"key": "new"}]
    assert module({"command": ["c"]})["command"] == ["c"]


def test_a_mapping_can_be_replaced_or_deleted() -> None:
    """By the directive in it."""
    assert module({"resources": {"$patch": "replace", "requests": {"cpu": "1"}}})["resources"] == {
        "requests": {"cpu": "1"}
    }
    assert "resources" not in module({"resources": {"$patch": "delete"}})


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["module"], ["prepare", "module"]),
        (["new"], ["new", "prepare", "module"]),
        (["prepare", "new", "module"], ["prepare", "new", "module"]),
        (["prepare", "new"], ["prepare", "new", "module"]),
        (["new", "module"], ["new", "prepare", "module"]),
        (["module", "prepare"], ["module", "prepare"]),
    ],
)
def test_a_merged_list_has_the_order_of_the_patch(named: list[str], expected: list[str]) -> None:
    """The API server's: who is not named stays before the first that it stood before."""
    made = merged(initContainers=[{"name": name} for name in named])["initContainers"]
    assert [one["name"] for one in made] == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"volumes": [{"emptyDir": {}}]}, "an entry of spec.volumes has no name; it tells the entries apart"),
        ({"volumes": {"name": "x"}}, "spec.volumes is a list; write its entries with dashes"),
        ({"volumes": ["x"]}, "an entry of spec.volumes has no name"),
        ({"securityContext": {"$patch": "remove"}}, "spec.securityContext: $patch is merge, replace or delete"),
        ({"$setElementOrder/volumes": []}, "spec: there is no directive $setElementOrder/volumes"),
    ],
)
def test_a_patch_that_cannot_be_is_refused(spec: dict[str, Any], expected: str) -> None:
    """With the place, and what to write."""
    with pytest.raises(InvalidError) as caught:
        merged(**spec)
    assert str(caught.value).startswith(expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(MAPPINGS, MAPPINGS)
def test_a_patch_laid_over_twice_changes_nothing_more(original: dict[str, Any], patch: dict[str, Any]) -> None:
    """And neither the original nor the patch is touched."""
    before = repr((original, patch))
    once = merge(original, patch)
    assert merge(once, patch) == once
    assert repr((original, patch)) == before


@given(MAPPINGS)
def test_an_empty_patch_changes_nothing(original: dict[str, Any]) -> None:
    """Whatever it lies over."""
    assert merge(original, {}) == original


NAMES = st.lists(st.sampled_from("abcdefg"), unique=True)


@given(NAMES, NAMES)
def test_no_entry_of_a_merged_list_is_lost_and_both_orders_are_kept(base: list[str], named: list[str]) -> None:
    """Those that are named have the patch's order, the others their own."""
    made = merge(
        {"spec": {"volumes": [{"name": one} for one in base]}}, {"spec": {"volumes": [{"name": n} for n in named]}}
    )
    found = [one["name"] for one in made["spec"]["volumes"]]
    assert sorted(found) == sorted({*base, *named})
    assert [one for one in found if one in named] == named
    assert [one for one in found if one not in named] == [one for one in base if one not in named]


KEYS = st.sampled_from(["X", "Y", "ion", "/ion/in", "/new"])


def entries(key: str, *values: str) -> st.SearchStrategy[Any]:
    """Entries of a merged list, told apart by `key`; some with a directive."""
    plain = st.fixed_dictionaries({key: KEYS}, optional={v: st.sampled_from("xy") for v in values})
    deleted = st.fixed_dictionaries({key: KEYS, "$patch": st.just("delete")})
    return st.lists(plain | deleted, max_size=3, unique_by=lambda entry: entry[key])


NAMED = st.fixed_dictionaries(
    {"name": st.sampled_from(["prepare", "module", "p", "q"])},
    optional={
        "image": st.sampled_from("xy") | st.none(),
        "env": entries("name", "value"),
        "volumeMounts": entries("mountPath", "name"),
        "command": st.lists(st.sampled_from("xy"), max_size=2) | st.none(),
        "resources": st.fixed_dictionaries(
            {}, optional={"limits": st.just({"cpu": None}), "$patch": st.just("replace")}
        ),
    },
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "initContainers": st.lists(NAMED, max_size=3, unique_by=lambda entry: entry["name"]),
        "hostAliases": entries("ip"),
        "imagePullSecrets": entries("name"),
        "nodeSelector": st.fixed_dictionaries({}, optional={"a": st.sampled_from("xy") | st.none()}),
        "restartPolicy": st.sampled_from(["Always"]) | st.none(),
        "tolerations": st.lists(st.fixed_dictionaries({"key": st.sampled_from("xy")}), max_size=2),
        "volumes": entries("name"),
    },
)


def kubectls(template: dict[str, Any], patch: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What kubectl makes of a template and a patch; it needs no cluster for that."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no kubectl to compare with; install it")
        pytest.skip("there is no kubectl to compare with")
    file = folder / "template.json"
    file.write_text(
        json.dumps({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template})
    )
    arguments = (
        "patch",
        "--local",
        "-f",
        str(file),
        "--type=strategic",
        "-o=json",
        f"-p={json.dumps({'template': patch})}",
    )
    made = subprocess.run([kubectl, *arguments], capture_output=True, text=True, check=True)
    patched: dict[str, Any] = json.loads(made.stdout)["template"]
    return patched


@settings(max_examples=30, deadline=None)
@given(SPECS)
def test_a_patch_makes_what_kubectl_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, patch: dict[str, Any]
) -> None:
    """The very code of the API server: lists, orders, nulls and directives."""
    expected = kubectls(TEMPLATE, {"spec": patch}, tmp_path_factory.mktemp("patch"))
    assume("$patch" not in json.dumps(expected))  # where there was nothing, it leaves directives unread
    assert filled(merge(TEMPLATE, {"spec": patch})) == filled(expected)


def filled(value: Any) -> Any:
    """Without what is empty: kubectl types its result, and a typed one does not tell empty from absent."""
    if isinstance(value, dict):
        return {key: full for key, one in value.items() if (full := filled(one)) not in ({}, [], None)}
    return [filled(one) for one in value] if isinstance(value, list) else value
