"""The keys of a module."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ion.config.module_table import MODULE
from ion.config.pipeline import Pipeline
from ion.model.module import Module, Mount, Retries, Subscription

LoadModule = Callable[..., Module]
Refusal = Callable[..., str]


def test_every_attribute_of_a_module_has_a_key() -> None:
    """Nothing that a module can be is missing from the pipeline file, and nothing in the file is lost."""
    attributes = {field.name for field in msgspec.structs.fields(Module)}
    assert {field.into or key for key, field in MODULE.fields.items()} == attributes - {
        "name",
        "pipeline",
        "origin",
        "folder",
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[python, x.py, '']", ("python", "x.py", "")),
        ("python x.py", ("python", "x.py")),
        ("sh -c 'echo $HOME; exit 1'", ("sh", "-c", "echo $HOME; exit 1")),
        ("[echo, no, 012, 1:30, 1e3, null, ~, on]", ("echo", "no", "012", "1:30", "1e3", "null", "~", "on")),
    ],
)
def test_a_command_is_a_list_or_a_line(module: LoadModule, written: str, expected: tuple[str, ...]) -> None:
    """A line is split as a shell does; every word is text."""
    assert module(f"command: {written}").command == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("photo", (Subscription(type="photo"),)),
        ("[photo, ion.job.dead]", (Subscription(type="photo"), Subscription(type="ion.job.dead"))),
        ("{type: photo}", (Subscription(type="photo"),)),
        (
            "[{type: photo, filters: [{not: {exact: {data.n: 012}}}]}]",
            (Subscription(type="photo", filters=({"not": {"exact": {"data.n": "012"}}},)),),
        ),
        ("[]", ()),
    ],
)
def test_subscriptions_have_a_short_and_a_full_form(
    module: LoadModule, written: str, expected: tuple[Subscription, ...]
) -> None:
    """A type, a mapping, or a list of either; the values of filters are text."""
    assert module("command: x", f"on: {written}").on == expected


def test_emitted_types_may_be_mappings(module: LoadModule) -> None:
    """A type, a mapping with a type, or a list of either; naming one twice is naming it."""
    assert module("command: x", "emits: [a, {type: b}, a]").emits == ("a", "b")
    assert module("command: x", "emits: a").emits == ("a",)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("3", Retries(module=3, timeout=3)),
        ("0", Retries(module=0, timeout=0)),
        ("{module: 3, lost: 5}", Retries(module=3, lost=5)),
        ("{memory: 2}", Retries(memory=2)),
        ("{memory: {times: 2, factor: 1.5}}", Retries(memory=2, memory_factor=1.5)),
        (
            "{timeout: 0, infrastructure: 2h, backoff: 500ms, backoff_most: 1m}",
            Retries(timeout=0, infrastructure_s=7200.0, backoff_s=0.5, backoff_most_s=60.0),
        ),
    ],
)
def test_retries_are_a_number_or_a_mapping(module: LoadModule, written: str, expected: Retries) -> None:
    """A number counts failures and time-outs alike; each class can have its own."""
    assert module("command: x", f"retries: {written}").retries == expected


def test_numbers_flags_and_words_are_typed_by_their_key(module: LoadModule) -> None:
    """What is a number, a flag or a duration in one key is text in another."""
    found = module(
        "command: x",
        "env: {A: 012, B: yes, C: 1e3, D: '', E: 1:30}",
        "network: false",
        "concurrency: 12",
        "no_retry_on: 64",
        "start_timeout: 90",
        "grace: 0",
        "log_limit: 1Mi",
        "resources: {cpu: 500m}",
    )
    assert found.env == {"A": "012", "B": "yes", "C": "1e3", "D": "", "E": "1:30"}
    assert (found.network, found.concurrency, found.no_retry_on, found.start_timeout_s) == (False, 12, (64,), 90.0)
    assert (found.grace_s, found.log_limit, found.resources.cpu) == (0.0, 2**20, 0.5)


def test_what_is_passed_on_is_typed_as_json(module: LoadModule) -> None:
    """Kubernetes gets numbers and flags; quoted scalars and everything ambiguous stay text."""
    written = "{uid: 1000, f: 0.5, on: true, a: 'true', b: no, c: 012, d: 1e3, e: '7', list: [1, x], none: null}"
    assert module("command: x", f"kubernetes: {{podTemplate: {written}}}").kubernetes["podTemplate"] == {
        "uid": 1000,
        "f": 0.5,
        "on": True,
        "a": "true",
        "b": "no",
        "c": "012",
        "d": "1e3",
        "e": "7",
        "list": [1, "x"],
        "none": None,
    }


def test_a_mount_names_a_folder_of_the_pipeline_or_of_the_host(load: Callable[..., Pipeline], tmp_path: Path) -> None:
    """A name of the top-level mounts wins; another relative source starts at the file; an absolute one stays."""
    pipeline = load(
        "ion: 1\nmounts: {models: /srv/models, data: {folder: d}}\nmodules: {a: {command: x, mounts: ["
        "{source: models, path: /m/}, {source: data, path: /d}, {source: other, path: /o}, {source: /x, path: /x}]}}\n"
    )
    assert pipeline.modules[0].mounts == (
        Mount(source="/srv/models", path="/m"),
        Mount(source=f"{tmp_path}/d", path="/d"),
        Mount(source=f"{tmp_path}/other", path="/o"),
        Mount(source="/x", path="/x"),
    )


def test_a_claim_is_for_kubernetes_only(refusal: Refusal) -> None:
    """A local module cannot mount a persistent volume claim, and is told so when loaded."""
    text = "ion: 1\nmounts: {m: {pvc: c}}\nmodules:\n  a: {command: x, mounts: [{source: m, path: /m}]}\n"
    assert refusal(text).startswith("ion.yaml:4: modules.a: the mount 'm' is a pvc, which only Kubernetes has")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("comand: x", "ion.yaml:5: unknown key 'comand' in modules.detect; did you mean 'command'?"),
        ("zzz: x", "ion.yaml:5: unknown key 'zzz' in modules.detect; known are: azurebatch, command"),
        ("network: yes", "ion.yaml:5: modules.detect.network must be true or false, not 'yes'"),
        ("network: True", "ion.yaml:5: modules.detect.network must be true or false, not 'True'"),
        ("concurrency: 0", "ion.yaml:5: modules.detect.concurrency must be a whole number from 1"),
        ("concurrency: 012", "ion.yaml:5: modules.detect.concurrency must be a whole number from 1"),
        ("concurrency: 1e3", "ion.yaml:5: modules.detect.concurrency must be a whole number from 1"),
        ("concurrency: [4]", "ion.yaml:5: modules.detect.concurrency must be a single value, not a list"),
        ("timeout: 1:30", "ion.yaml:5: modules.detect.timeout must be a duration such as"),
        ("timeout: 0", "ion.yaml:5: modules.detect.timeout must be a duration longer than 0, not '0'"),
        ("provider: kubernets", "ion.yaml:5: modules.detect.provider must be one of local, kubernetes, azurebatch"),
        ("resources: {memory: 4GB}", "ion.yaml:5: modules.detect.resources.memory must be a number of bytes such as"),
        ("resources: {memory: 500m}", "ion.yaml:5: modules.detect.resources.memory must be a number of bytes such as"),
        ("resources: {memry: 4G}", "ion.yaml:5: unknown key 'memry' in modules.detect.resources; did you mean"),
        (
            "resources: 4",
            "ion.yaml:5: modules.detect.resources must be a mapping, not a single value; its keys",
        ),
        ("retries: -1", "ion.yaml:5: modules.detect.retries must be a whole number from 0"),
        ("retries: {memory: {factor: 0.5}}", "ion.yaml:5: modules.detect.retries.memory.factor must be a number of"),
        ("retries: {backoff: 1h}", "ion.yaml:5: modules.detect.retries: backoff is longer than backoff_most"),
        ("no_retry_on: [256]", "ion.yaml:5: modules.detect.no_retry_on[0] must be a whole number from 1 to 255"),
        ("on: 'a, b'", "ion.yaml:5: modules.detect.on must be one event type, without blanks, commas"),
        ("on: ['*']", "ion.yaml:5: modules.detect.on[0] must be one event type"),
        ("on: [{filters: []}]", "ion.yaml:5: modules.detect.on[0] lacks the key 'type'; add it"),
        ("on: [{type: a, filters: [{sufix: {id: x}}]}]", "ion.yaml:5: modules.detect.on[0].filters[0]: unknown filter"),
        (
            "on: [{type: a, filters: [{exact: {id: }}]}]",
            "ion.yaml:5: modules.detect.on[0].filters[0]: the value of",
        ),
        ("emits: [ion.done]", "ion.yaml:5: modules.detect.emits[0] must be a type that does not begin with 'ion.'"),
        ("emits: [{type: a, schem: x}]", "ion.yaml:5: unknown key 'schem' in modules.detect.emits[0]"),
        ("env: {A=B: x}", "ion.yaml:5: 'A=B' in modules.detect.env must be the name of an environment variable"),
        ("env: {A: [x]}", "ion.yaml:5: modules.detect.env.A must be a single value, not a list"),
        ("secrets: {A: ''}", "ion.yaml:5: modules.detect.secrets.A must be text that is not empty"),
        ("mounts: [{source: x}]", "ion.yaml:5: modules.detect.mounts[0] lacks the key 'path'; add it"),
        ("mounts: [{source: x, path: y}]", "ion.yaml:5: modules.detect.mounts[0].path must be an absolute path"),
        ("mounts: [{source: x, path: /ion/in}]", "ion.yaml:5: modules.detect.mounts[0]: nothing can be mounted at"),
        ("mounts: [{source: x, path: /a/../b}]", "ion.yaml:5: modules.detect.mounts[0]: nothing can be mounted at"),
        ("runtime: container", "ion.yaml:3: modules.detect: runtime: container needs an image"),
        ("env: {A: x}\n    secrets: {A: y}", "ion.yaml:3: modules.detect: the variable A stands in both"),
        ("kubernetes: [x]", "ion.yaml:5: modules.detect.kubernetes must be a mapping, not a list"),
    ],
)
def test_a_mistake_in_a_module_is_told_with_its_line(module_refusal: Refusal, line: str, expected: str) -> None:
    """One sentence: the line, the key, what it must be, and what was found."""
    assert module_refusal("command: x", line).startswith(expected)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["env: {}"], "ion.yaml:3: modules.detect: there is neither an image nor a command; add one of the two"),
        (["command: []"], "ion.yaml:3: modules.detect: the command is empty; name a program"),
        (["command: ''"], "ion.yaml:3: modules.detect: the command is empty; name a program"),
        (["command: ['']"], "ion.yaml:3: modules.detect: the command is empty; name a program"),
        (['command: "it\'s"'], "ion.yaml:4: modules.detect.command cannot be split (No closing quotation)"),
        (["image: i", "runtime: process"], "ion.yaml:3: modules.detect: runtime: process needs a command"),
        (["image: ''"], "ion.yaml:4: modules.detect.image must be text that is not empty"),
    ],
)
def test_a_module_needs_something_to_run(module_refusal: Refusal, lines: list[str], expected: str) -> None:
    """An image, a command or both, and neither empty."""
    assert module_refusal(*lines).startswith(expected)


def test_an_empty_item_of_a_list_is_refused(module_refusal: Refusal) -> None:
    """A dash with nothing behind it is a mistake more often than an empty text."""
    assert module_refusal("command:", "  - x", "  -").startswith("ion.yaml:6: modules.detect.command[1] is empty")
