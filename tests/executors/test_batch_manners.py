"""What the Azure Batch executor asks of the service: together, by filters, and not while it wants to be left alone."""

import asyncio
import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from tests.batch_double.place import Place, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble
from tests.batch_double.signature import KEY
from tests.stores.azurite import KEY as BLOBS_KEY

from ion.adapters.executors.azurebatch import attempt as attempts
from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.settings import BatchSettings, Registry
from ion.adapters.executors.backoff import RefusedError
from ion.errors import UnavailableError
from ion.model.manifest import Manifest
from ion.model.module import Mount, Resources
from ion.ports.executor import Phase
from ion.testing.conformance.executor import WRITES_A_FILE, final

__all__ = ["double", "place", "task_images"]

MANY = 130
PLAIN = "a 'quoted' $word, \"and more\" # \\ of it"


async def test_many_tasks_are_listed_together(
    double: BatchDouble, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists give them by pages, and nobody asks for a task alone."""
    monkeypatch.setattr(attempts, "UNSEEN_S", 3600.0)
    double.account.resize("ion", 0)
    double.page = 50
    async with place.open() as executor:
        handles = [await executor.submit(place.assignment("true")) for _ in range(MANY)]
        await becomes(lambda: len(next(iter(double.account.tasks.values()), {})) == MANY)
        await becomes(lambda: double.count(r"GET .*/tasks\?.*filter=stateTransitionTime ge datetime'") > 3)
        assert double.count(r"GET .*/tasks/[^/?]+\?") == 0
        assert len(await executor.recover()) == MANY
        assert double.count("skiptoken") > 0
        assert {(await executor.state(handle)).phase for handle in handles} == {Phase.PENDING}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_service_is_left_alone(double: BatchDouble, place: Place, status: int) -> None:
    """For as long as it says, by all who would ask it; then the attempt goes on as if nothing had been."""
    async with place.open() as executor:
        double.refuse("POST .*/addtaskcollection", status, "ServerBusy", after_s=2)
        handle = await executor.submit(place.assignment(WRITES_A_FILE))
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED
        asked = list(double.asked)
        refused_s = next(at_s for at_s, line in asked if "/addtaskcollection" in line)
        soon = [line for at_s, line in asked if refused_s < at_s < refused_s + 2.0]
        assert len(soon) <= 1, soon  # which was on its way when the answer came


async def test_an_answer_that_got_lost_adds_nothing_twice(double: BatchDouble, place: Place) -> None:
    """Two dispatchers add the same attempt: the second is told that it exists, and follows it."""
    async with place.open() as first, place.open() as second:
        work = place.assignment(WRITES_A_FILE)
        handles = await asyncio.gather(first.submit(work), second.submit(work))
        found = await asyncio.gather(
            *(final(one, handle) for one, handle in zip((first, second), handles, strict=True))
        )
        assert {status.phase for status in found} == {Phase.SUCCEEDED}
        assert found[0].manifest == found[1].manifest
        assert len(double.account.tasks[next(iter(double.account.jobs))]) == 1


async def test_a_batch_job_that_was_deleted_is_made_again(double: BatchDouble, place: Place) -> None:
    """Whoever cleans up the account stops nothing for long."""
    async with place.open() as executor:
        await final(executor, await executor.submit(place.assignment("true")))
        [name] = double.account.jobs
        double.account.delete_job(name)
        status = await final(executor, await executor.submit(place.assignment("true")))
        assert status.phase is Phase.SUCCEEDED


async def test_a_wrong_key_is_told(double: BatchDouble) -> None:
    """In one sentence, with what to look at."""
    settings = BatchSettings(url=double.url, account="ionbatch", key="d3Jvbmc=", pool="ion")
    async with Batch(settings) as batch:
        with pytest.raises(RefusedError, match=r"cannot look at the pool ion: .*\(AuthenticationFailed\) \(is the acc"):
            await batch.pool("ion")


async def test_an_account_that_is_away_is_reached_later(double: BatchDouble, place: Place) -> None:
    """The module is held with the reason, and goes on when the account answers."""
    double.refuse("GET /jobs", 500, "InternalError", times=1)
    async with place.open() as executor:
        executor.check(place.assignment("true").revision)
    nowhere = place.but(url="http://127.0.0.1:1")
    async with Batch(nowhere.batch) as batch:
        with pytest.raises(UnavailableError, match="cannot look at the pool ion"):
            await batch.pool("ion")


async def test_nothing_secret_is_in_a_task_or_on_a_command_line(double: BatchDouble, place: Place) -> None:
    """Who may read the account sees a link to what the node was given, which is signed for that alone."""
    secret = "the value of a\nsecret of two lines"
    registry = Registry(server="acme.azurecr.io", user="puller", password="a registry's password")
    there = msgspec.structs.replace(place.but(registries=(registry,)), known={"token": secret})
    script = (
        'printf %s "$TOKEN" >"$ION_DIR/out/data/token"; printf %s "$PLAIN" >"$ION_DIR/out/data/plain"; echo "$TOKEN"'
    )
    work = there.assignment(script, secrets={"TOKEN": "token"}, env={"PLAIN": PLAIN})
    async with there.open() as executor:
        handle = await executor.submit(work)
        status = await final(executor, handle)
        assert status.manifest is not None, status
        files = msgspec.json.decode(status.manifest.inline, type=Manifest).files
        assert [await there.stored(file.blob) for file in files] == [PLAIN.encode(), secret.encode()]
        log = await there.stored(status.log)
        task = double.account.one()
        assert task is not None
        seen = json.dumps(task.document) + (double.account.nodes / "called").read_text()
        for value in (KEY, BLOBS_KEY, secret.splitlines()[1], registry.password):
            assert value not in seen
        assert b"secret of two lines" not in log
        assert "sig=" in task.document["resourceFiles"][0]["httpUrl"]
        assert not (task.folder / "wd/given").exists()


async def test_with_an_identity_nothing_is_signed(double: BatchDouble, place: Place) -> None:
    """The node fetches its archive as that identity, which the local service does not have: so no further than this."""
    identity = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ion"
    double.account.resize("ion", 0)
    async with place.but(identity=identity).open() as executor:
        await executor.submit(place.assignment("true"))
        await becomes(lambda: double.account.one("active") is not None)
        task = double.account.one()
        assert task is not None
        [file] = task.document["resourceFiles"]
        assert file["identityReference"] == {"resourceId": identity}
        assert "?" not in file["httpUrl"]


async def test_what_a_module_asks_for_reaches_docker(double: BatchDouble, place: Place) -> None:
    """Processors, graphics cards, a network that is not there, mounts."""
    folder = Path(place.folder) / "models"
    folder.mkdir()
    (folder / "weights").write_text("heavy")
    wanted = {
        "resources": Resources(gpu=1, shm=64 * 2**20),
        "network": False,
        "mounts": (Mount(source=str(folder), path="/models"),),
    }
    work = place.assignment('cat /models/weights >"$ION_DIR/out/data/w" && ! touch /models/x', **wanted)
    status = await place.ended(work)
    assert status.phase is Phase.SUCCEEDED, status
    assert 0.0 < status.began_s <= status.ended_s
    assert (double.account.nodes / "gpus").read_text() == "--gpus=1\n"
    called = (double.account.nodes / "called").read_text()
    assert "--network=none" in called
    assert "--shm-size=67108864b" in called


def test_the_nodes_script_is_good_shell() -> None:
    """A shell reads it without complaint."""
    script = Path(__file__).parents[2] / "src/ion/adapters/executors/azurebatch/task.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
