"""Logs of attempts on a real cluster: live, in pieces, whole, bounded, and without secrets (R7, R8)."""

import shutil
from pathlib import Path

import msgspec
import pytest
from tests.cluster.attempts import Place, abandon, ended, place, until_stored
from tests.cluster.cluster import Cluster

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.executors.kubernetes import executor as executor_module
from ion.management.jobs import read_log
from ion.model.event import FileRef
from ion.model.job import State
from ion.model.manifest import log_pieces
from ion.ports.executor import Phase
from ion.testing.conformance.executor import final, logged, logs_line, root_event

__all__ = ["place"]

COUNTS = """
i=0
while [ "$i" -lt 8 ]; do
    echo "line $i"; i=$((i+1))
    if [ "$i" -eq 4 ]; then eval "$GATE"; fi
done
echo a > "$ION_DIR/out/data/a.txt"
"""


async def test_a_log_is_whole_and_in_order(place: Place) -> None:
    """Thousands of lines, and a last one without an end, each with its node's time; and the other output's line, which
    the node reads by another pipe, so that it may stand anywhere between.
    """
    script = "seq 1 5000; echo oops >&2; printf unfinished"
    status = await ended(place, place.assignment(script))
    assert status.phase is Phase.SUCCEEDED
    lines = (await place.stored(status.log)).decode().splitlines()
    texts = [line.partition("Z ")[2] for line in lines]
    assert texts.count("oops") == 1
    assert [text for text in texts if text != "oops"] == [*(str(number) for number in range(1, 5001)), "unfinished"]


async def test_a_long_line_is_one_line(place: Place) -> None:
    """Nodes keep it in pieces, and old ones put a time before each; none of that is in the log."""
    status = await ended(place, place.assignment("head -c 60000 /dev/zero | tr '\\0' x; echo; echo end"))
    lines = (await place.stored(status.log)).decode().splitlines()
    assert [line.partition("Z ")[2] for line in lines] == ["x" * 60_000, "end"]


async def test_a_log_is_followed_as_it_grows_without_a_line_lost_or_doubled(place: Place) -> None:
    """While it runs one sees its first lines; at the end each is there once."""
    async with place.open() as executor:
        handle = await executor.submit(place.gated(COUNTS))
        await logs_line(executor, handle, b"line 2\n")
        assert not (await executor.state(handle)).final
        early = await logged(executor, handle)
        place.open_gate()
        status = await final(executor, handle)
        whole = await place.stored(status.log)
        assert whole.startswith(early)
        assert [line.rpartition(b"Z ")[2] for line in whole.splitlines()] == [b"line %d" % n for n in range(8)]
        assert await logged(executor, handle) == whole


async def test_pieces_of_a_growing_log_are_stored_and_go_with_the_whole(place: Place) -> None:
    """Somebody elsewhere reads them while it runs. Once the whole log is stored they are of no more use."""
    async with place.open() as executor:
        work = place.gated(COUNTS)
        handle = await executor.submit(work)
        await until_stored(place, f"{work.job.id}/1/", lambda paths: bool(log_pieces(paths)))
        running = msgspec.structs.replace(work.job, state=State.RUNNING)
        async with ObjectBlobs(place.store) as blobs:
            seen = b"".join([chunk async for chunk in read_log(running, blobs=blobs, work=None)])
            rest = b"".join([chunk async for chunk in read_log(running, blobs=blobs, work=None, start=10)])
        assert b"line 0\n" in seen
        assert rest.startswith(seen[10:])
        place.open_gate()
        status = await final(executor, handle)
        assert (await place.stored(status.log)).startswith(seen)
        assert log_pieces(await place.paths(f"{work.job.id}/1/")) == []


async def test_a_log_whose_pod_and_dispatcher_are_gone_is_put_together_from_its_pieces(
    place: Place, cluster: Cluster
) -> None:
    """A lost node loses no more than the last seconds."""
    work = place.assignment("echo begun; sleep 1000")
    await abandon(place, work, stored=True)
    namespace = place.kubernetes.namespace
    (name,) = cluster.kubectl("get", "jobs", "-n", namespace, "-o", "name").split()
    cluster.kubectl("patch", name, "-n", namespace, "-p", '{"spec": {"parallelism": 0}}')
    cluster.kubectl("wait", "-n", namespace, "--for=delete", "--timeout=300s", "pod", "--all")
    async with place.open() as executor:
        handle = await executor.submit(work)
        await executor.cancel(handle)
        status = await final(executor, handle)
        assert b"begun\n" in await place.stored(status.log)


async def test_what_nobody_wants_any_more_is_ended_with_its_log(place: Place, cluster: Cluster) -> None:
    """It is cleared away by one who never followed it: what it said until its end is stored first."""
    script = 'trap "echo last words; exit 0" TERM; echo begun; while :; do sleep 0.1; done'
    await abandon(place, place.assignment(script))
    async with place.open() as executor:
        (status,) = await executor.recover()
        await executor.remove(status.handle)
    (log,) = [path for path in await place.paths(f"{status.handle.job}/") if path.endswith("/log.txt")]
    assert [line.partition(b"Z ")[2] for line in (await place.stored(log)).splitlines()] == [b"begun", b"last words"]
    assert cluster.kubectl("get", "jobs", "-n", place.kubernetes.namespace, "-o", "name") == ""


def tidied(folder: Path) -> None:
    """Deletes what executors keep below it."""
    for kept in folder.glob("*/*/"):
        shutil.rmtree(kept)


async def test_an_attempt_ends_though_its_growing_log_was_deleted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever tidies up folders of this host. Its results are not worse for it."""
    monkeypatch.setattr(executor_module, "LEAST_PIECE_S", 0.5)
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(COUNTS))
        await logs_line(executor, handle, b"line 0")
        tidied(Path(place.folder))
        status = await final(executor, handle)
        assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)


async def test_a_log_beyond_its_limit_keeps_its_head_and_its_end(place: Place) -> None:
    """As on one machine."""
    status = await ended(place, place.assignment("seq 1 4000", log_limit=20_000))
    log = await place.stored(status.log)
    assert len(log) <= 20_000
    assert log.splitlines()[0].endswith(b"Z 1")
    assert log.splitlines()[-1].endswith(b"Z 4000")
    assert b"bytes of the log were left out here" in log


async def test_a_secret_reaches_the_module_and_not_its_log(place: Place, cluster: Cluster) -> None:
    """It comes by reference, and is masked where the module prints it."""
    namespace = place.kubernetes.namespace
    cluster.kubectl("create", "secret", "generic", "vision-key", "--from-literal=value=tell-nobody", "-n", namespace)
    script = '[ "${#API_KEY}" -eq 11 ] && echo "the key is $API_KEY."'
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(script, secrets={"API_KEY": "vision-key"}))
        status = await final(executor, handle)
        assert status.phase is Phase.SUCCEEDED
        assert b"the key is ***." in await place.stored(status.log)
        made = cluster.kubectl("get", "jobs,pods,configmaps", "-n", namespace, "-o", "json")
        assert "tell-nobody" not in made
        assert place.store.secret_access_key not in made


async def test_a_failed_prepare_is_in_the_log(place: Place) -> None:
    """All three containers are."""
    missing = FileRef(path="a.txt", blob="nobody/1/x/data/a.txt", size=1, sha256="0" * 64)
    status = await ended(place, place.assignment("true", event=root_event(missing)))
    assert status.failure is not None
    assert b"nobody/1/x/data/a.txt" in await place.stored(status.log)
