"""What stands in a pipeline file beside the modules."""

from collections.abc import Callable

import pytest

from ion.config.pipeline import Pipeline
from ion.config.settings import Backend, Front, Guards, Machine, MountSource, SecretSource, Settings
from ion.model.retention import Retention

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]
ONE = "ion: 1\nmodules: {a: {command: [x]}}\n"


def test_nothing_need_be_said(load: Load) -> None:
    """Without settings, everything has Ion's defaults."""
    assert load(ONE).settings == Settings()
    assert Settings().ledger.kind == "sqlite"
    assert Settings().guards.max_hops == 32


def test_every_section_is_typed(load: Load) -> None:
    """Sizes are bytes, durations seconds, and a kind may stand alone."""
    text = """
bus: memory
ledger: {kind: memory}
documents: {kind: sqlite}
blobs: {kind: filesystem}
synchronous: full
front: {port: 0, host: 0.0.0.0, tokens: ['${T}', b], open: true, max_body: 2Gi, max_json: 64Ki, max_files: 5, stall: 5s}
retention: {intermediates: 7d, results: never, failed: 90d, logs: 12h, ids: 60d}
machine: {cpu: 1.5, memory: 8Gi, gpus: 2}
guards: {max_hops: 8, max_jobs: 100}
mounts: {m: /m, c: {pvc: claim}}
secrets: {vision-key: {env: VISION_KEY}, other: {file: /run/secrets/other}}
"""
    assert load(ONE + text, environ={"T": "secret-token"}).settings == Settings(
        bus=Backend(kind="memory"),
        ledger=Backend(kind="memory"),
        synchronous="full",
        front=Front(
            port=0,
            host="0.0.0.0",
            tokens=("secret-token", "b"),
            open=True,
            max_body=2 * 2**30,
            max_json=64 * 2**10,
            max_files=5,
            stall_s=5.0,
        ),
        retention=Retention(intermediates_s=7 * 86400.0, failed_s=90 * 86400.0, logs_s=12 * 3600.0, ids_s=60 * 86400.0),
        machine=Machine(cpu=1.5, memory=8 * 2**30, gpus=("0", "1")),
        guards=Guards(max_hops=8, max_jobs=100),
        mounts={"m": MountSource(folder="/m"), "c": MountSource(pvc="claim")},
        secrets={"vision-key": SecretSource(env="VISION_KEY"), "other": SecretSource(file="/run/secrets/other")},
    )


def test_nothing_is_taken_unless_asked_for(load: Load) -> None:
    """By default everything is kept; `never` says so, and only ids of what has expired go by themselves."""
    assert not Retention().takes
    assert Retention().ids_s == 30 * 86400.0
    never = "retention: {intermediates: never, results: never, failed: never, logs: never, ids: never}\n"
    assert load(ONE + never).settings.retention == Retention(ids_s=None)
    assert load(ONE + "retention: {logs: 1d}\n").settings.retention.takes


def test_gpus_may_be_named_or_none(load: Load) -> None:
    """A list names devices; 0 offers none, which is not the same as looking for them."""
    assert load(ONE + "machine: {gpus: [GPU-1, '3']}\n").settings.machine.gpus == ("GPU-1", "3")
    assert load(ONE + "machine: {gpus: 0}\n").settings.machine.gpus == ()
    assert load(ONE).settings.machine.gpus is None


def test_tokens_are_not_shown() -> None:
    """A token stands in no log that prints the settings."""
    assert "secret-token" not in repr(Settings(front=Front(tokens=("secret-token",))))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ledger: postgres", "ion.yaml:3: ledger must be one of sqlite, memory (other kinds are not available), not"),
        ("bus: {kind: nats}", "ion.yaml:3: bus.kind must be one of sqlite, memory (other kinds are not available)"),
        ("blobs: {}", "ion.yaml:3: blobs lacks the key 'kind'; add it"),
        ("front: {port: 70000}", "ion.yaml:3: front.port must be a whole number from 0 to 65535, not '70000'"),
        ("front: {tokens: abc}", "ion.yaml:3: front.tokens must be a list, not a single value"),
        ("front: {tokens: ['${NONE:-}']}", "ion.yaml:3: front.tokens[0] must be text that is not empty"),
        ("front: {open: 1}", "ion.yaml:3: front.open must be true or false, not '1'"),
        (
            "retention: {results: 0}",
            "ion.yaml:3: retention.results must be never, or a duration longer than 0, not '0'",
        ),
        ("retention: {logs: no}", "ion.yaml:3: retention.logs must be never, or a duration such as"),
        (
            "retention: {dead: 3d}",
            "ion.yaml:3: unknown key 'dead' in retention; known are: failed, ids, intermediates, logs, results",
        ),
        ("guards: {max_hop: 3}", "ion.yaml:3: unknown key 'max_hop' in guards; did you mean 'max_hops'?"),
        ("mounts: {m: {pvc: a, folder: b}}", "ion.yaml:3: mounts.m: a mount is either a folder or a pvc"),
        ("mounts: {m: {}}", "ion.yaml:3: mounts.m: a mount is either a folder or a pvc"),
        ("secrets: {s: {env: A, file: b}}", "ion.yaml:3: secrets.s: a secret comes from env or from file"),
        ("secrets: {s: sk-1234}", "ion.yaml:3: secrets.s must be a mapping, not a single value"),
    ],
)
def test_a_mistake_in_a_setting_is_told_with_its_line(refusal: Refusal, line: str, expected: str) -> None:
    """One sentence: the line, the key, what it must be."""
    assert refusal(ONE + line + "\n").startswith(expected)
