"""Attempts on the real cluster while its API server is busy, broken, away, or does not know us any more."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cluster.api_proxy import Answer, ApiProxy, Asked, Fate, refusal
from tests.cluster.attempts import LASTS_S, Place, abandon, credential, place, reached, set_to, until
from tests.cluster.cluster import Cluster

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.executors.kubernetes import KubernetesExecutor, attempt
from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.making import Credential
from ion.adapters.executors.kubernetes.names import JOB
from ion.errors import InvalidError, UnavailableError
from ion.handler import JobHandler
from ion.model.job import Failure, FailureClass
from ion.ports.executor import Assignment, Executor, Handle, Phase, Status
from ion.testing.conformance.executor import ENDS_LATER, WAITS, WRITES_A_FILE, final, logs_line

__all__ = ["place"]

STOPPED = Failure(kind=FailureClass.LOST, message="somebody stopped it")
FATES = (Fate.LOSE, Fate.CLOSE, Fate.DROP, refusal(500, "Internal Server Error"), refusal(503, "Service Unavailable"))


class Proxied(msgspec.Struct, frozen=True):
    """A place that is reached through a proxy."""

    where: Place
    proxy: ApiProxy
    cluster: Cluster

    async def kubectl(self, *words: str, stdin: str = "") -> str:
        """Not through the proxy."""
        namespace = self.where.kubernetes.namespace
        return await asyncio.to_thread(self.cluster.kubectl, "-n", namespace, *words, stdin=stdin)

    async def left(self) -> str:
        return await self.kubectl("get", "jobs,secrets", "-l", JOB, "-o", "name")

    async def job(self) -> str:
        """The name of the only Job."""
        return await self.kubectl("get", "jobs", "-o", "jsonpath={.items[*].metadata.name}")

    async def said_once(self, status: Status, *lines: bytes) -> None:
        """It succeeded, and each of these lines is once in its log."""
        assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)
        logged = (await self.where.stored(status.log)).splitlines()
        assert [line.partition(b"Z ")[2] for line in logged] == list(lines)
        executions = {path.split("/")[2] for path in await self.where.paths(f"{status.handle.job}/")}
        assert len(executions) == 1


@pytest.fixture
async def proxied(place: Place, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Proxied]:
    async with ApiProxy(cluster, tmp_path) as proxy:
        yield Proxied(set_to(place, kubeconfig=str(proxy.kubeconfig)), proxy, cluster)


def each_first_time(answer: Answer) -> Callable[[Asked], Fate | Answer]:
    """Refuses everything when it is asked for the first time."""
    seen: set[tuple[str, str]] = set()

    def judge(asked: Asked) -> Fate | Answer:
        what = (asked.method, asked.target.partition("?")[0] if not asked.watches else "watch")
        if what in seen:
            return Fate.PASS
        seen.add(what)
        return answer

    return judge


def at_random(chance: random.Random) -> Callable[[Asked], Fate | Answer]:
    """A third of all requests go wrong, whether the server hears of them or not."""

    def judge(asked: Asked) -> Fate | Answer:
        if chance.random() > 1 / 3:
            return Fate.PASS
        fate = chance.choice(FATES)
        endless = asked.watches or "follow=true" in asked.target
        return Fate.DROP if endless and isinstance(fate, Fate) else fate

    return judge


@pytest.mark.parametrize("code", [429, 503])
async def test_a_busy_server_is_asked_again_later(proxied: Proxied, code: int) -> None:
    """Everything is refused once, with the time after which to come again; nothing fails, and nothing is made twice."""
    proxied.proxy.judge = each_first_time(refusal(code, "Busy", Retry_After="1"))
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.assignment(WRITES_A_FILE))
        status = await final(executor, handle)
        await proxied.said_once(status, b"said")
        made = [asked.at_s for asked in proxied.proxy.asked if asked.makes("jobs")]
        assert len(made) == 2
        assert made[1] - made[0] >= 1.0
        await removed(executor, handle)
    assert await proxied.left() == ""


async def removed(executor: Executor, handle: Handle) -> None:
    """As the dispatcher does it: again and again."""
    async with asyncio.timeout(300.0):
        while True:
            try:
                await executor.remove(handle)
            except UnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_requests_that_go_wrong_at_random_lose_and_double_nothing(proxied: Proxied) -> None:
    """Also those that the server did without its answer coming through."""
    seed = int(os.environ.get("ION_TEST_SEED") or random.randrange(10_000))
    print(f"ION_TEST_SEED={seed}")
    proxied.proxy.judge = at_random(random.Random(seed))
    async with proxied.where.open() as executor:
        handles = [await executor.submit(proxied.where.assignment(WRITES_A_FILE)) for _ in range(4)]
        for handle in handles:
            await proxied.said_once(await final(executor, handle), b"said")
        jobs = json.loads(await proxied.kubectl("get", "jobs", "-o", "json"))["items"]
        assert sorted(job["metadata"]["labels"][JOB] for job in jobs) == sorted(handle.job for handle in handles)
        await asyncio.gather(*(removed(executor, handle) for handle in handles))
    assert await proxied.left() == ""


async def test_an_api_server_that_is_away_for_a_while_costs_nothing(
    proxied: Proxied, place: Place, cluster: Cluster
) -> None:
    """The module ends meanwhile; how, and what it said, is known once the server is back."""
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.gated(f'echo begun; eval "$GATE"; {WRITES_A_FILE}'))
        await logs_line(executor, handle, b"begun")
        await proxied.proxy.away()
        proxied.where.open_gate()
        phases = ("-n", place.kubernetes.namespace, "get", "pods", "-o", "jsonpath={.items[*].status.phase}")
        await until(lambda: cluster.kubectl(*phases) == "Succeeded")
        assert (await executor.state(handle)).phase is Phase.RUNNING
        await proxied.proxy.back()
        await proxied.said_once(await final(executor, handle), b"begun", b"said")


async def test_one_that_is_cancelled_while_the_server_is_away_ends_once_it_is_back(proxied: Proxied) -> None:
    """And is cancelled no less."""
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.assignment(WAITS))
        await logs_line(executor, handle, b"begun")
        await proxied.proxy.away()
        await executor.cancel(handle, STOPPED)
        await asyncio.sleep(3.0)  # several tries fail
        await proxied.proxy.back()
        assert (await final(executor, handle)).failure == STOPPED
        await removed(executor, handle)
    assert await proxied.left() == ""


async def test_an_attempt_past_its_time_does_not_besiege_a_server_that_is_busy(proxied: Proxied) -> None:
    """Ending it is tried ever more rarely."""
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.assignment(WAITS, timeout_s=2.0))
        await logs_line(executor, handle, b"begun")
        ends = proxied.proxy.next(lambda asked: asked.method in ("PATCH", "DELETE"), refusal(503, "Busy"))
        await until(lambda: bool(ends))
        await asyncio.sleep(3.0)  # how often it asks within a time is the point
        assert len(ends) < 20
        proxied.proxy.passes()
        failure = (await final(executor, handle)).failure
        assert failure is not None
        assert failure.kind is FailureClass.TIMEOUT


async def test_taking_up_an_attempt_does_not_besiege_a_server_that_is_busy(proxied: Proxied) -> None:
    """Also where its pod changes meanwhile."""
    work = await abandon(proxied.where, proxied.where.assignment(WAITS))
    async with proxied.where.open() as executor:
        makes = proxied.proxy.next(lambda asked: asked.makes("secrets"), refusal(503, "Busy"))
        handle = await executor.submit(work)
        await until(lambda: bool(makes))
        await proxied.kubectl("label", "pods", "--all", "ion.dev/mark=1")
        await asyncio.sleep(3.0)  # how often it asks within a time is the point
        assert len(makes) < 20
        proxied.proxy.passes()
        await executor.cancel(handle, STOPPED)
        assert (await final(executor, handle)).failure == STOPPED


async def test_what_runs_is_taken_up_however_long_the_server_is_away(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not made yet fails after a while, to be tried again. What is found running has done its work."""
    monkeypatch.setattr(attempt, "MAKING_S", 0.5)
    work = await abandon(proxied.where, proxied.where.assignment(ENDS_LATER))
    async with proxied.where.open() as executor:
        assert [status.handle.job for status in await executor.recover()] == [work.job.id]
        await proxied.proxy.away()
        handle = await executor.submit(work)
        new = await executor.submit(proxied.where.assignment(WRITES_A_FILE))
        failure = (await final(executor, new)).failure
        assert failure is not None
        assert failure.kind is FailureClass.INFRASTRUCTURE
        assert not (await executor.state(handle)).final
        await proxied.proxy.back()
        await proxied.said_once(await final(executor, handle), b"begun", b"said")


async def test_what_was_made_though_nobody_was_told_is_taken_up(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and nothing can be made for longer than it is tried: its Job is there all the same."""
    monkeypatch.setattr(attempt, "MAKING_S", 0.0)
    fates: Iterator[Fate | Answer] = iter([Fate.LOSE, *3 * [refusal(503, "Busy")]])
    proxied.proxy.judge = lambda asked: next(fates, Fate.PASS) if asked.makes("jobs") else Fate.PASS
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.assignment(WRITES_A_FILE))
        await proxied.said_once(await final(executor, handle), b"said")


async def test_an_end_that_the_watch_has_not_told_of_is_no_loss(proxied: Proxied) -> None:
    """A connection that is dead looks like a quiet one for a while. How the module failed, and what it said, is known
    once pods are heard of again.
    """

    def finished() -> bool:
        read = ("get", "jobs", "-o", "jsonpath={.items[*].status.failed}")
        return proxied.cluster.kubectl("-n", proxied.where.kubernetes.namespace, *read) == "1"

    async with proxied.where.open() as executor:
        await until(lambda: any(asked.watches for asked in proxied.proxy.asked))
        watches = proxied.proxy.next(lambda asked: asked.watches, Fate.SILENT)
        await proxied.proxy.cut(lambda asked: asked.watches)
        await until(lambda: bool(watches))
        handle = await executor.submit(proxied.where.assignment("echo said; exit 3"))
        end = asyncio.create_task(final(executor, handle))
        await until(finished)
        before = len(proxied.proxy.asked)
        looks = f"/jobs/{await proxied.job()}"
        await until(lambda: end.done() or any(asked.target.endswith(looks) for asked in proxied.proxy.asked[before:]))
        proxied.proxy.passes()
        await proxied.proxy.cut(lambda asked: asked.watches)
        status = await end
        assert status.failure == Failure(kind=FailureClass.MODULE, message="exit code 3", exit_code=3)
        assert (await proxied.where.stored(status.log)).endswith(b"Z said\n")


async def test_a_host_whose_clock_is_wrong_ends_nothing_early(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a pod has waited is by the cluster's clock, and so is now."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600.0)
    async with place.open() as executor:
        status = await final(executor, await executor.submit(place.assignment(WRITES_A_FILE)))
        assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)


async def test_what_no_request_can_carry_is_a_fault_for_good(proxied: Proxied) -> None:
    """Asking again would not make it smaller. Between the two sizes the server gives two answers."""
    async with Kubernetes(str(proxied.proxy.kubeconfig)) as api:
        for size in (2 * 2**20, 4 * 2**20):
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "big"},
                "stringData": {"a": "a" * size},
            }
            with pytest.raises(InvalidError):
                await api.create(f"/api/v1/namespaces/{proxied.where.kubernetes.namespace}/secrets", secret)


async def test_a_cluster_that_is_not_there_yet_is_reached_later(proxied: Proxied) -> None:
    """A dispatcher starts before its cluster does."""
    await proxied.proxy.away()
    back = asyncio.get_running_loop().call_later(3.0, lambda: asyncio.ensure_future(proxied.proxy.back()))
    async with proxied.where.open() as executor:
        await proxied.said_once(
            await final(executor, await executor.submit(proxied.where.assignment(WRITES_A_FILE))), b"said"
        )
    back.cancel()


async def test_a_fault_of_ions_own_gives_a_running_attempt_an_end(place: Place, tmp_path: Path) -> None:
    """Whatever it is: here who grants credentials does not do what it promises."""
    broken = asyncio.Event()

    async def strange(work: Assignment) -> Credential:
        if broken.is_set():
            raise RuntimeError("of another kind")
        return msgspec.structs.replace(await credential(blobs, work, lasts_s=LASTS_S), lasts_s=2.0)

    async with ObjectBlobs(place.store) as blobs:
        handler = JobHandler(blobs, host="here")
        executor = KubernetesExecutor(
            tmp_path / "store", handler, blobs, place.kubernetes, credentials=strange, ledger=place.folder, eager=True
        )
        async with executor:
            await reached(executor)
            handle = await executor.submit(place.assignment(WAITS, grace_s=1.0))
            await logs_line(executor, handle, b"begun")
            broken.set()
            failure = (await final(executor, handle)).failure
            assert failure is not None
            assert failure.kind is FailureClass.INFRASTRUCTURE
            await executor.remove(handle)


async def test_a_host_without_room_for_logs_is_no_end_of_it(place: Place, tmp_path: Path) -> None:
    """It is held with a sentence, and goes on once there is room."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    asyncio.get_running_loop().call_later(1.0, blocked.unlink)
    async with msgspec.structs.replace(place, folder=str(blocked)).open() as executor:
        status = await final(executor, await executor.submit(place.assignment(WRITES_A_FILE)))
        assert status.phase is Phase.SUCCEEDED


async def test_a_quota_that_two_requests_change_at_once_is_no_failure(proxied: Proxied) -> None:
    """The server answers 409 to all but one of them."""
    met = proxied.proxy.next(lambda asked: asked.makes("jobs"), refusal(409, "Conflict"), times=2)
    async with proxied.where.open() as executor:
        status = await final(executor, await executor.submit(proxied.where.assignment(WRITES_A_FILE)))
        await proxied.said_once(status, b"said")
        assert len(met) == 2


def quota(**hard: str) -> str:
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": hard}}
    return json.dumps(body)


async def test_jobs_that_a_quota_refuses_are_made_when_there_is_room(proxied: Proxied) -> None:
    """The executor tries for a while by itself."""
    await proxied.kubectl("create", "-f", "-", stdin=quota(**{"count/jobs.batch": "0"}))
    await until_counted(proxied)
    async with proxied.where.open() as executor:
        handle = await executor.submit(proxied.where.assignment(WRITES_A_FILE))
        await until(lambda: sum(asked.makes("jobs") for asked in proxied.proxy.asked) >= 3)
        await proxied.kubectl("replace", "-f", "-", stdin=quota(**{"count/jobs.batch": "5"}))
        await proxied.said_once(await final(executor, handle), b"said")


async def test_pods_that_a_quota_refuses_wait_quietly(proxied: Proxied) -> None:
    """Their Jobs are there, so nobody has to ask much: what they wait for is told in Kubernetes' own words."""
    await proxied.kubectl("create", "-f", "-", stdin=quota(pods="0"))
    await until_counted(proxied)
    async with proxied.where.open() as executor:
        handles = [await executor.submit(proxied.where.assignment(WRITES_A_FILE)) for _ in range(5)]
        await until(lambda: all("exceeded quota: tight" in executor.waits_for(handle) for handle in handles))
        before = len(proxied.proxy.asked)
        await asyncio.sleep(10.0)  # how much it asks within a time is the point
        assert len(proxied.proxy.asked) - before <= 4 * len(handles)
        await proxied.kubectl("delete", "resourcequota", "tight")
        for handle in handles:
            await proxied.said_once(await final(executor, handle), b"said")


async def until_counted(proxied: Proxied) -> None:
    """Until the controller has counted what there is: before that the quota is not in force."""
    for _ in range(2000):
        if json.loads(await proxied.kubectl("get", "resourcequota", "tight", "-o", "json"))["status"].get("used"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the quota is not counted")


# ---- an account whose token ends ------------------------------------------------------------------------------


async def token(proxied: Proxied, name: str) -> str:
    """A new token of the account `ion`, kept in a Secret: the API server takes it until that is deleted."""
    about = {"name": name, "annotations": {"kubernetes.io/service-account.name": "ion"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": "kubernetes.io/service-account-token"}
    await proxied.kubectl("create", "-f", "-", stdin=json.dumps(secret))
    read = ("get", "secret", name, "-o", "go-template={{if .data.token}}{{.data.token | base64decode}}{{end}}")
    for _ in range(2000):
        if found := await proxied.kubectl(*read):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("no token is made")


def tell(proxied: Proxied, document: Mapping[str, Any], with_token: str) -> None:
    """Writes the token into the kubeconfig."""
    users = [{"name": "ion", "user": {"token": with_token}}]
    proxied.proxy.kubeconfig.write_text(json.dumps({**document, "users": users}))


async def test_a_token_that_has_ended_is_read_again(proxied: Proxied) -> None:
    """By an account with no right but in its namespace. What runs goes on, and what is new waits for the new token."""
    await proxied.kubectl("create", "serviceaccount", "ion")
    account = f"{proxied.where.kubernetes.namespace}:ion"
    await proxied.kubectl("create", "rolebinding", "ion", "--clusterrole=edit", f"--serviceaccount={account}")
    document, first = json.loads(proxied.proxy.kubeconfig.read_text()), await token(proxied, "first")
    tell(proxied, document, first)
    async with proxied.where.open() as executor:
        running = await executor.submit(proxied.where.assignment(ENDS_LATER))
        await logs_line(executor, running, b"begun")
        await proxied.kubectl("delete", "secret", "first")
        await until(lambda: not proxied.cluster.succeeds(f"--token={first}", "auth", "can-i", "get", "pods"))
        before = len(proxied.proxy.asked)
        late = await executor.submit(proxied.where.assignment(WRITES_A_FILE))
        await until(lambda: sum(asked.method in ("GET", "POST") for asked in proxied.proxy.asked[before:]) >= 3)
        tell(proxied, document, await token(proxied, "second"))
        await proxied.said_once(await final(executor, late), b"said")
        await proxied.said_once(await final(executor, running), b"begun", b"said")


async def test_a_program_that_logs_in_may_fail_for_a_while(proxied: Proxied, tmp_path: Path) -> None:
    """It says nonsense at first."""
    document, says = json.loads(proxied.proxy.kubeconfig.read_text()), tmp_path / "says"
    says.write_text("sorry")
    token = document["users"][0]["user"]["token"]
    program = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "cat",
        "args": [str(says)],
    }
    users = [{"name": "ion", "user": {"exec": program}}]
    proxied.proxy.kubeconfig.write_text(json.dumps({**document, "users": users}))
    right = json.dumps({"status": {"token": token}})
    asyncio.get_running_loop().call_later(1.0, says.write_text, right)
    async with proxied.where.open() as executor:
        status = await final(executor, await executor.submit(proxied.where.assignment(WRITES_A_FILE)))
        await proxied.said_once(status, b"said")
