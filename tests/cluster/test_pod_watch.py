"""The watch of pods, on the real API server, when what is between them and the server itself fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.cluster.api_proxy import Answer, ApiProxy, Asked, Fate, refusal
from tests.cluster.cluster import Cluster

from ion.adapters.executors.backoff import Backoff
from ion.adapters.executors.kubernetes import client
from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.names import ATTEMPT, JOB
from ion.adapters.executors.kubernetes.watch import Key, PodWatch

PATIENCE_S = 300.0
MARK = "ion.dev/mark"


class Heard:
    """A watch of a namespace through a proxy, and the pods that it watches: none of them finds a node."""

    def __init__(self, proxy: ApiProxy, cluster: Cluster, namespace: str) -> None:
        self.proxy, self._cluster, self._namespace = proxy, cluster, namespace
        self._changed = asyncio.Event()
        self._api = Kubernetes(str(proxy.kubeconfig))
        self.path = f"/api/v1/namespaces/{namespace}/pods"
        self.watch = PodWatch(self._api, self.path, JOB, self._hear)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Heard"]:
        async with self._api:
            task = asyncio.create_task(self.watch.run())
            try:
                await self.watch.ready.wait()
                yield self
            finally:
                assert not task.done(), task.exception()
                task.cancel()
                await asyncio.wait({task})

    async def make(self, name: str) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {JOB: name, ATTEMPT: "1"}},
            "spec": {"nodeSelector": {"ion.dev/none": "such"}, "containers": [{"name": "one", "image": "none"}]},
        }
        await self.kubectl("create", "-f", "-", stdin=json.dumps(pod))

    async def mark(self, name: str, mark: str) -> None:
        await self.kubectl("label", "pod", name, f"{MARK}={mark}", "--overwrite")

    async def delete(self, name: str) -> None:
        await self.kubectl("delete", "pod", name, "--wait=true")

    async def kubectl(self, *words: str, stdin: str = "") -> str:
        return await asyncio.to_thread(self._cluster.kubectl, "-n", self._namespace, *words, stdin=stdin)

    def marks(self) -> dict[str, str]:
        """What is known of each pod."""
        pods = [self.watch.of(key) for key in self.watch.pods]
        return {pod["metadata"]["name"]: pod["metadata"]["labels"].get(MARK, "") for (pod,) in pods}

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def asked_again(self, before: int, wanted: Callable[[Asked], bool]) -> None:
        """Until something more than the first `before` requests is asked."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(map(wanted, self.proxy.asked[before:])):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def _hear(self, _: Key) -> None:
        self._changed.set()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name


@pytest.fixture
async def heard(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Heard]:
    """One that knows of the pod `a`."""
    async with ApiProxy(cluster, tmp_path) as proxy:
        one = Heard(proxy, cluster, namespace)
        await one.make("a")
        async with one.running():
            await one.until(lambda: one.marks() == {"a": ""})
            await one.asked_again(0, watches)
            yield one


def watches(asked: Asked) -> bool:
    return asked.watches


async def break_off(heard: Heard) -> None:
    """Ends the watch, as soon as there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while not await heard.proxy.cut(watches):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_broken_watch_goes_on_where_it_was(heard: Heard) -> None:
    """What happened meanwhile is heard, and nothing is listed anew."""
    heard.proxy.stall()
    await heard.mark("a", "1")
    await heard.make("b")
    await heard.delete("b")
    await heard.make("c")
    await break_off(heard)
    heard.proxy.passes()
    await heard.until(lambda: heard.marks() == {"a": "1", "c": ""})
    assert heard.watch.relists == 1


async def test_one_that_is_broken_again_and_again_is_neither_slow_nor_listed_anew(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something on the way that ends every stream after a while is no outage: each time it was heard of something."""
    waits, next_s = list[float](), Backoff.next_s

    def kept(backoff: Backoff, error: Exception | None = None) -> float:
        waits.append(next_s(backoff, error))
        return waits[-1]

    monkeypatch.setattr(Backoff, "next_s", kept)
    for number in range(12):
        await heard.mark("a", str(number))
        await heard.until(lambda wanted=str(number): heard.marks() == {"a": wanted})  # type: ignore[misc]
        before = len(heard.proxy.asked)
        await break_off(heard)
        await heard.asked_again(before, watches)
    assert heard.watch.relists == 1
    assert max(waits, default=0.0) < 0.2


@pytest.mark.parametrize("how", ["status", "event", "too old"])
async def test_a_version_that_is_gone_leads_to_a_new_list(heard: Heard, how: str) -> None:
    """As an HTTP status or as an event in the stream: what changed meanwhile, deletions too, is found by comparing."""
    gone = refusal(410, "Gone")
    fate = {
        "status": gone,
        "event": Answer(body=b'{"type": "ERROR", "object": %s}\n' % gone.body),
        "too old": Answer(target=f"{heard.path}?watch=true&resourceVersion=1"),
    }[how]
    await heard.make("b")
    await heard.until(lambda: len(heard.marks()) == 2)
    met = heard.proxy.next(watches, Fate.DROP)
    await break_off(heard)
    await heard.mark("a", "1")
    await heard.delete("b")
    met = heard.proxy.next(watches, fate, times=1)
    await heard.until(lambda: heard.marks() == {"a": "1"})
    assert met
    assert heard.watch.relists == 2
    await heard.mark("a", "2")
    await heard.until(lambda: heard.marks() == {"a": "2"})


async def test_a_server_for_which_every_version_is_gone_is_not_besieged(heard: Heard) -> None:
    """Lists are dear: it is asked for one ever more rarely."""
    heard.proxy.next(watches, refusal(410, "Gone"))
    before = len(heard.proxy.asked)
    await break_off(heard)

    def lists() -> list[float]:
        return [asked.at_s for asked in heard.proxy.asked[before:] if not asked.watches]

    async with asyncio.timeout(PATIENCE_S):
        while len(lists()) < 6:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    found = lists()
    assert found[5] - found[0] > 1.5  # five times the first pause would be half a second at most
    heard.proxy.passes()
    await heard.mark("a", "1")
    await heard.until(lambda: heard.marks() == {"a": "1"})


async def test_a_stream_that_ends_within_an_event_is_taken_up_again(heard: Heard) -> None:
    """Half an event is none, and no reason to stop listening."""
    met = heard.proxy.next(watches, Fate.HALVE, times=1)
    await break_off(heard)
    await heard.mark("a", "1")
    await heard.until(lambda: heard.marks() == {"a": "1"})
    assert met


async def test_a_page_of_something_else_is_an_outage(heard: Heard) -> None:
    """A load balancer that says sorry with status 200 is no API server."""
    met = heard.proxy.next(lambda _: True, Answer(body=b"<html>sorry</html>", headers={"Content-Type": "text/html"}))
    await break_off(heard)
    await heard.mark("a", "1")
    async with asyncio.timeout(PATIENCE_S):
        while not any(not asked.watches for asked in met):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    heard.proxy.passes()
    await heard.until(lambda: heard.marks() == {"a": "1"})


async def test_a_busy_server_is_left_alone_as_long_as_it_wants(heard: Heard) -> None:
    """Retry-After is obeyed."""
    met = heard.proxy.next(watches, refusal(429, "Too Many Requests", Retry_After="2"), times=2)
    await break_off(heard)
    await heard.mark("a", "1")
    await heard.until(lambda: heard.marks() == {"a": "1"})
    later = next(asked for asked in heard.proxy.asked if asked.watches and asked.at_s > met[1].at_s)
    assert min(met[1].at_s - met[0].at_s, later.at_s - met[1].at_s) >= 2.0


async def test_a_stream_that_stalls_without_a_word_is_given_up(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead connection looks like a quiet one, so one that is quiet for longer than a watch lasts is made anew."""
    monkeypatch.setattr(client, "WATCH_SILENCE_S", 1.0)
    await break_off(heard)
    before = len(heard.proxy.asked)
    await heard.asked_again(before - 1, watches)
    heard.proxy.stall()
    await heard.mark("a", "1")
    await heard.asked_again(len(heard.proxy.asked), watches)
    heard.proxy.passes()
    await heard.until(lambda: heard.marks() == {"a": "1"})


async def test_a_server_that_is_away_is_waited_for(heard: Heard) -> None:
    """What ended and what came while it was away is known once it is back."""
    await heard.make("b")
    await heard.until(lambda: len(heard.marks()) == 2)
    await heard.proxy.away()
    await heard.delete("b")
    await heard.make("c")
    await asyncio.sleep(2.0)  # several tries fail
    await heard.proxy.back()
    await heard.until(lambda: heard.marks() == {"a": "", "c": ""})
