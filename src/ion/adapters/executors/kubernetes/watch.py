"""The pods of all attempts, as the API server tells them: listed once, then watched.

A watch goes on from the version that it heard last, bookmarks included, also after the connection broke or the server
was restarted. Where that version is gone, everything is listed anew and compared; so whatever was missed, each attempt
hears of the state that its pods are in now.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing

from ion.adapters.executors.backoff import Backoff
from ion.adapters.executors.kubernetes.client import Document, GoneError, Kubernetes
from ion.adapters.executors.kubernetes.names import ATTEMPT, JOB
from ion.errors import IonError

Key = tuple[str, str]
"""What the labels of an attempt's pods say: its job, its number."""

_TRIES = 5
_LONG_S = 10.0
"""A stream that goes on for so long has worked, though nothing happened meanwhile."""
_LOG = logging.getLogger(__name__)


class PodWatch:
    """`pods` is what is known, by attempt and uid; `changed` is told of each attempt whose pods changed.

    `ready` is set once everything was listed.
    """

    def __init__(self, api: Kubernetes, path: str, selector: str, changed: Callable[[Key], None]) -> None:
        self._api, self._path, self._selector, self._changed = api, path, selector, changed
        self._version, self._heard = "", False
        self.pods: dict[Key, dict[str, Document]] = {}
        self.ready = asyncio.Event()
        self.relists = 0

    def of(self, key: Key) -> list[Document]:
        """The pods of an attempt, the oldest first."""
        return sorted(self.pods.get(key, {}).values(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    async def run(self) -> None:
        """Listens for ever."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            began_s, self._heard = loop.time(), False
            error = await self._once()
            if self._heard or loop.time() - began_s > _LONG_S:  # what ended now had worked
                backoff.fine()
                if error is None:
                    continue
            if error is not None and backoff.tries == 1:
                _LOG.warning("the pods of jobs are not heard of for the moment: %s", error)
            if backoff.tries >= _TRIES:  # a server that was set back to an older state knows no such version
                self._version = ""
            await asyncio.sleep(backoff.next_s(error))

    async def _once(self) -> IonError | None:
        """Listens until that ends, and why, if it did not end well."""
        try:
            if not self._version:
                await self._list()
            await self._listen()
        except IonError as error:
            if isinstance(error, GoneError):
                self._version = ""
            return error
        return None

    async def _list(self) -> None:
        found, version = await self._api.list(self._path, self._selector)
        before, self.pods = self.pods, {}
        for pod in found:
            if (key := key_of(pod)) is not None:
                self.pods.setdefault(key, {})[pod["metadata"]["uid"]] = _kept(pod)
        self._version = version
        self.relists += 1
        self.ready.set()
        for key in before.keys() | self.pods.keys():
            self._changed(key)

    async def _listen(self) -> None:
        async with aclosing(self._api.watch(self._path, self._selector, self._version)) as events:  # type: ignore[type-var] # an async generator
            async for event in events:
                pod = event["object"]
                if event["type"] != "BOOKMARK":
                    self._hear(event["type"], pod)
                self._version = pod["metadata"]["resourceVersion"]
                self._heard = True

    def _hear(self, kind: str, pod: Document) -> None:
        if (key := key_of(pod)) is None:
            return
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            known = self.pods.get(key, {})
            known.pop(uid, None)
            if not known:
                self.pods.pop(key, None)
        else:
            self.pods.setdefault(key, {})[uid] = _kept(pod)
        self._changed(key)


def key_of(document: Document) -> Key | None:
    """Whose attempt something belongs to, by its labels; None if they do not say."""
    labels: Mapping[str, str] = document["metadata"].get("labels") or {}
    return (labels[JOB], labels[ATTEMPT]) if JOB in labels and ATTEMPT in labels else None


def _kept(pod: Document) -> Document:
    pod["metadata"].pop("managedFields", None)
    return pod
