"""`ion run` on what it cannot do: one sentence, exit code 2, and nothing done."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.cli.programs import Folder, shell

from ion.dispatcher.stores import Stores
from ion.management.events import RootEvent, raise_event
from ion.model.job import State
from ion.model.module import Module, Subscription, revise

COUNTS = 'for n in $(seq 1 30); do echo "line $n"; done; exit 3'
"""A script that fails with thirty lines in its log."""


# ---- refusals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def looked(here: "Folder") -> Callable[[], Any]:
    """A store in which something stands already, and how to look at it: what a refusal must leave as it was.

    A dispatcher that was opened on it would release the root event, and one module would be there too many.
    """
    old = Module(name="old", on=(Subscription(type="old"),), command=("true",), folder="/")

    async def fill(stores: Stores) -> None:
        await stores.ledger.apply([revise(old)], "test")
        await raise_event(RootEvent(type="old"), gateway="test", ledger=stores.ledger, blobs=stores.blobs)

    async def look(stores: Stores) -> Any:
        modules = [(one.module.name, one.revision.id) for one in await stores.ledger.modules()]
        return modules, [flow async for flow in stores.ledger.flows()]

    here.do(fill)
    return lambda: (here.do(look), [(job.id, job.state) for job in here.jobs()])


def refused(here: "Folder", looked: Callable[[], Any], *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Runs what is to be refused, and sees to it that nothing was done; gives the sentence."""
    before = looked()
    ended = here.run(*arguments, code=2, env=env)
    assert ended.out == ""
    assert looked() == before
    return ended.said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ("--event", "foto"), "no module of the pipeline hears 'foto'; did you mean 'photo'?", id="unknown type"
        ),
        pytest.param(
            ("--event", "photo", "--set", "kind"), "'kind' is no key and value: write KEY=VALUE", id="no value"
        ),
        pytest.param(
            ("--event", "photo", "--each-set", "=1"), "'=1' is no key and value: write KEY=VALUE", id="no key"
        ),
        pytest.param(
            ("--event", "photo", "--each", "*.jpg", "--each", "*.gif"),
            "--each '*.gif' matches no file: quote the pattern, and mind the folder",
            id="no match",
        ),
        pytest.param(
            ("--set", "kind=cat"),
            "say which event to raise: --event TYPE goes with --set, --file, --each and --subject",
            id="no type",
        ),
        pytest.param(("--profile", "big"), "ion.yaml:1: there is no profile 'big'; none is known", id="no profile"),
        pytest.param(
            ("gone.yaml",), "gone.yaml: the file cannot be read (No such file or directory); check its path", id="file"
        ),
    ],
)
def test_bad_input_is_refused(
    here: "Folder", cat: Path, looked: Callable[[], Any], arguments: tuple[str, ...], sentence: str
) -> None:
    """With exit code 2 and a sentence that says what to give instead; nothing is registered, raised or run."""
    here.pipeline({"detect": shell("true", on="photo")})
    assert refused(here, looked, *arguments) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--event", "photo", "--file", "gone.jpg"), "gone.jpg cannot be read", id="no file"),
        pytest.param(("--event", "photo", "--subject", "a\tcat"), "the subject 'a\\tcat' cannot be used", id="subject"),
        pytest.param(("--event", "ion.dead"), "events of type 'ion.dead' are Ion's own", id="own type"),
    ],
)
def test_events_that_cannot_be_raised_are_refused_before_anything_is_done(
    here: "Folder", cat: Path, looked: Callable[[], Any], arguments: tuple[str, ...], sentence: str
) -> None:
    """With exit code 2 and a sentence; neither are the modules registered, nor do open flows run."""
    here.pipeline({"detect": shell("true", on=["photo", "ion.dead"])})
    assert sentence in refused(here, looked, *arguments)


def test_a_bad_pipeline_file_is_refused_with_the_line(here: "Folder", looked: Callable[[], Any]) -> None:
    """The sentence begins with FILE:LINE and offers the nearest key."""
    here.write("ion.yaml", "ion: 1\nmodules:\n  detect:\n    comand: [true]\n    on: photo\n")
    sentence = refused(here, looked, "--event", "photo")
    assert sentence.startswith("ion.yaml:4: ")
    assert "did you mean 'command'?" in sentence


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"resources": {"cpu": 5}}, "module greedy wants 5 cpus, this machine has 4: ask for fewer"),
        (
            {"resources": {"memory": "512Mi"}},
            "module greedy wants 512 MiB of memory, this machine has 256 MiB: ask for less",
        ),
        ({"resources": {"gpu": 2}}, "module greedy wants 2 gpus, this machine has 1: ask for fewer"),
        (
            {"provider": "azurebatch", "image": "greedy:1"},
            "module greedy is for Azure Batch, and no account is configured: set `azurebatch: {url: ..., pool: ...}`",
        ),
        (
            {"provider": "kubernetes", "image": "greedy:1"},
            "module greedy is for Kubernetes, and no cluster is configured: set `kubernetes: {kubeconfig: ...}`",
        ),
        (
            {
                "image": "greedy:1",
                "runtime": "process",
                "route": {"when": {"waited": "1m"}, "provider": "azurebatch"},
            },
            "a rule sends jobs to azurebatch: module greedy is for Azure Batch, and no account is configured: set ",
        ),
        (
            {"secrets": {"API_KEY": "vision-key"}},
            "module greedy needs the secret 'vision-key' (as API_KEY): ",
        ),
    ],
    ids=["cpu", "memory", "gpu", "account", "cluster", "route", "secret"],
)
def test_a_module_that_cannot_run_here_is_refused(
    here: "Folder", looked: Callable[[], Any], keys: Mapping[str, Any], sentence: str
) -> None:
    """Even where it stands last in the pipeline: before anything is raised, not after the others have run."""
    machine = {"cpu": 4, "memory": "256Mi", "gpus": 1}
    here.pipeline({"detect": shell("true", on="photo"), "greedy": shell("true", on="face", **keys)}, machine=machine)
    assert refused(here, looked, "--event", "photo").startswith(sentence)


def test_a_refusal_makes_no_store(here: "Folder") -> None:
    """Where there was none, a module that cannot run leaves none behind."""
    here.pipeline({"greedy": shell("true", on="photo", resources={"cpu": 5})})
    here.run("--event", "photo", code=2)
    assert not here.store.exists()


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        pytest.param(("--endpoint", "acme:9000"), {}, id="option"),
        pytest.param((), {"ION_ENDPOINT": "acme:9000"}, id="environment"),
    ],
)
def test_an_endpoint_that_was_asked_for_is_refused(
    here: "Folder", looked: Callable[[], Any], arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    """Working here instead of there would be worse than not working; the sentence names `ion apply`."""
    here.pipeline({"detect": shell("true", on="photo")})
    sentence = (
        "the endpoint acme:9000 cannot be used: this command serves a store here; leave the endpoint out, or hand the "
        "pipeline to it with `ion apply`"
    )
    assert refused(here, looked, "--event", "photo", *arguments, env=env) == sentence


def test_an_endpoint_for_other_commands_does_not_keep_a_pipeline_from_running_here(here: "Folder", cat: Path) -> None:
    """The pipeline's endpoint is for `ion apply`, a client's configuration for looks at an Ion elsewhere."""
    here.pipeline({"detect": shell("true", on="photo")}, endpoint="acme:9000")
    config = here.write("client.yaml", "endpoint: acme:9000\n")
    here.run("--event", "photo", "--config", str(config))
    assert here.released("detect")


def test_a_store_that_cannot_be_made_is_refused(here: "Folder", cat: Path) -> None:
    """One sentence, and no traceback."""
    here.pipeline({"detect": shell("true", on="photo")})
    assert "cat.jpg" in here.run("--event", "photo", "--store", "cat.jpg", code=2).said


FILTERED = shell("true", on=[{"type": "photo", "filters": [{"exact": {"data.kind": "cat"}}]}])


def test_a_root_event_that_every_filter_turns_away_is_refused(here: "Folder") -> None:
    """It would start nothing, which was hardly meant; one that a filter lets through is not."""
    here.pipeline({"detect": FILTERED})
    ended = here.run("--event", "photo", "--set", "kind=dog", code=2)
    assert ended.said == "no module takes 'photo': the filters of all that hear it turn it away"
    here.run("--event", "photo", "--each-set", "kind=dog", "--each-set", "kind=cat")
    assert len(here.jobs("detect", State.RELEASED)) == 1


def test_a_refused_root_event_is_not_raised(here: "Folder", looked: Callable[[], Any]) -> None:
    """Where every filter turns it away, there is no event in the ledger, and no result that says `ok`."""
    here.pipeline({"detect": FILTERED})
    said = refused(here, looked, "--event", "photo", "--set", "kind=dog", "--json")
    assert said.startswith("no module takes 'photo'")
