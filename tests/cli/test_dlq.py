"""`ion dlq`: listing, showing and redriving dead letters."""

from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.stores import Stores
from ion.model.event import Event
from ion.model.job import State
from ion.model.module import Module, Subscription

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

BOXED = Module(name="detect", on=(Subscription(type="photo"),), emits=("face",), image="acme/detect:1", folder="/")


def images(bench: "Bench") -> dict[str, str]:
    async def work(stores: Stores) -> dict[str, str]:
        return {one.module.name: one.module.image for one in await stores.ledger.modules()}

    return bench.do(work)


def test_list_shows_dead_letters_alone(bench: "Bench", flow: Event) -> None:
    """A row a letter, with revision, attempts and failure; jobs in other states are not there."""
    header, row = bench.ion("dlq", "list").stdout.splitlines()
    assert header.split() == ["JOB", "MODULE", "REVISION", "DIED", "TRY", "SUBJECT", "FAILURE"]
    (job,) = bench.jobs("count")
    assert row.split()[:3] == [job.id[:8], "count", job.revision[:8]]
    assert row.endswith("cat.jpg  module: exit code 3")
    assert [one["id"] for one in bench.json("dlq", "list", "--json")] == [job.id]


@pytest.mark.parametrize(
    ("fits", "does_not"),
    [
        (("-n", "count"), ("--module", "detect")),
        (("--class", "module"), ("--class", "timeout")),
        (("--since", "1h"), ("--since", "2100-01-01")),
        (("--until", "2100-01-01T10:00"), ("--until", "1h")),
        (("--class", "timeout", "--class", "module"), ("--class", "module", "--module", "detect")),
    ],
)
def test_every_filter_narrows(bench: "Bench", flow: Event, fits: tuple[str, ...], does_not: tuple[str, ...]) -> None:
    """Module, class and time each narrow, and several together."""
    assert len(bench.json("dlq", "list", "--json", *fits)) == 1
    assert bench.json("dlq", "list", "--json", *does_not) == []


def test_list_is_narrowed_by_revision_and_flow(bench: "Bench", flow: Event) -> None:
    """A revision and a flow are named by their beginnings; a flow that is not there is refused."""
    (job,) = bench.jobs("count")
    assert len(bench.json("dlq", "list", "--json", "--revision", job.revision[:6])) == 1
    assert bench.json("dlq", "list", "--json", "--revision", "zz") == []
    assert len(bench.json("dlq", "list", "--json", "-c", flow.correlation_id[:8])) == 1
    assert "there is no flow 'zzz'" in bench.ion("dlq", "list", "--flow", "zzz", code=2).stderr


def test_a_time_that_is_none_is_refused(bench: "Bench") -> None:
    """The sentence says how to write one."""
    assert "or how long ago" in bench.ion("dlq", "list", "--since", "yesterday", code=2).stderr


def test_show_is_that_of_a_job(bench: "Bench", flow: Event) -> None:
    """The page of a dead letter is the job's."""
    (job,) = bench.jobs("count")
    assert bench.ion("dlq", "show", job.id[:8]).stdout == bench.ion("job", "show", job.id).stdout


def test_redrive_by_id_and_by_filter(bench: "Bench", flow: Event) -> None:
    """What is redriven waits again and is no dead letter any more."""
    (job,) = bench.jobs("count")
    assert bench.ion("dlq", "redrive", job.id[:8]).stdout == f"{job.id} waits again\n"
    assert bench.job(job.id).state is State.WAITING
    bench.fail("count")
    assert bench.ion("dlq", "redrive", "--class", "module").stdout == f"{job.id} waits again\n"
    bench.fail("count")
    assert "1 dead letter queued again" in bench.ion("dlq", "redrive", "--all").stderr
    assert "0 dead letters queued again" in bench.ion("dlq", "redrive", "--all").stderr


def test_a_dry_run_changes_nothing(bench: "Bench", flow: Event) -> None:
    """It names what would wait again, and leaves it dead."""
    (job,) = bench.jobs("count")
    assert bench.ion("dlq", "redrive", "--all", "--dry-run").stdout == f"{job.id} would wait again\n"
    assert bench.job(job.id).state is State.DEAD


def test_a_choice_has_to_be_made(bench: "Bench", flow: Event) -> None:
    """Without ids, filter or --all nothing is queued; ids and filters together are refused too."""
    (job,) = bench.jobs("count")
    assert "say which dead letters" in bench.ion("dlq", "redrive", code=2).stderr
    assert "not both" in bench.ion("dlq", "redrive", job.id, "--module", "count", code=2).stderr
    assert "not both" in bench.ion("dlq", "redrive", job.id, "--all", code=2).stderr
    assert "leave it out, or the filters" in bench.ion("dlq", "redrive", "--all", "-n", "count", code=2).stderr
    assert bench.job(job.id).state is State.DEAD


def test_only_dead_letters_are_redriven(bench: "Bench", flow: Event) -> None:
    """One id that is no dead letter refuses them all."""
    (dead,), (released,) = bench.jobs("count"), bench.jobs("detect")
    refused = bench.ion("dlq", "redrive", dead.id, released.id, code=2).stderr
    assert f"job {released.id} is released: only dead letters are redriven" in refused
    assert bench.job(dead.id).state is State.DEAD


def test_redrive_in_a_cancelled_flow_is_refused(bench: "Bench", flow: Event) -> None:
    """By id or by filter, with what to do; where other flows have letters, those are queued and the rest is told."""
    (job,) = bench.jobs("count")
    bench.ion("flow", "cancel", flow.correlation_id)
    for which in ((job.id,), ("--all",), ("-c", flow.correlation_id)):
        assert "raise its root event anew instead" in bench.ion("dlq", "redrive", *which, code=2).stderr
    bench.photo("other")
    other = bench.fail("detect")
    result = bench.ion("dlq", "redrive", "--all")
    assert result.stdout == f"{other.id} waits again\n"
    assert "1 dead letter of cancelled flows left out" in result.stderr
    assert bench.job(job.id).state is State.DEAD


def test_redrive_without_the_module_is_refused(bench: "Bench", flow: Event) -> None:
    """A letter for a module that is gone is not queued, and nothing else is."""
    bench.do(lambda stores: stores.ledger.remove("count", "test"))
    assert "apply that module first" in bench.ion("dlq", "redrive", "--all", code=2).stderr


def test_redrive_with_another_image(bench: "Bench") -> None:
    """The module gets a new revision with that image, and the letters wait for it."""
    bench.apply(BOXED)
    bench.photo()
    job = bench.fail("detect")
    bench.ion("dlq", "redrive", "-n", "detect", "--image", "acme/detect:2", "--dry-run")
    assert images(bench)["detect"] == "acme/detect:1"
    bench.ion("dlq", "redrive", "-n", "detect", "--image", "acme/detect:2")
    assert images(bench)["detect"] == "acme/detect:2"
    again = bench.claim("detect")
    assert (again.id, again.attempt) == (job.id, 2)
    assert again.revision != job.revision


def test_one_image_is_for_one_module(bench: "Bench", flow: Event) -> None:
    """Several modules, or one that runs no image, are refused before anything is changed."""
    (dead,) = bench.jobs("count")
    assert "runs without an image" in bench.ion("dlq", "redrive", dead.id, "--image", "a", code=2).stderr
    bench.apply(BOXED)
    bench.photo("other")
    bench.fail("detect")
    refused = bench.ion("dlq", "redrive", "--all", "--image", "a", code=2).stderr
    assert "these are of count, detect; choose with --module" in refused
    assert images(bench)["detect"] == "acme/detect:1"
    assert bench.job(dead.id).state is State.DEAD
