"""The executor of a Kubernetes cluster; the package's other files each hold one part of what it does.

A Job in the cluster is the attempt, and who follows it may change; one watch of pods wakes those that do. No connection
is made before somebody needs it: a laptop whose cluster is away is neither slowed nor kept from its other work.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ion.adapters.executors.adopting import AdoptingExecutor
from ion.adapters.executors.backoff import Backoff, RefusedError
from ion.adapters.executors.kubernetes.attempt import Attempt, Place
from ion.adapters.executors.kubernetes.cleaning import Leftovers
from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.making import Credentials, Making
from ion.adapters.executors.kubernetes.pod import check_module
from ion.adapters.executors.kubernetes.secrets import ModuleSecrets
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.adapters.executors.kubernetes.watch import Key, PodWatch
from ion.errors import InvalidError, IonError, UnavailableError, UnsupportedError
from ion.model.module import Revision
from ion.ports.blobs import Blobs
from ion.ports.executor import Assignment, Handle, Handler, Phase, Status

LEAST_PIECE_S, MOST_PIECE_S = 3.0, 30.0
"""How often the growing logs are stored; the more there are, the less often."""
_LOG = logging.getLogger(__name__)


class KubernetesExecutor(AdoptingExecutor[Attempt]):
    """Attempts as Jobs in one namespace of a cluster.

    `credentials` grants what an attempt needs of the blobs, `ledger` names
    the ledger whose attempts they are. With `eager` it connects at once, else when a module asks for it.
    """

    def __init__(
        self,
        work: Path,
        handler: Handler,
        blobs: Blobs,
        settings: KubernetesSettings,
        *,
        credentials: Credentials,
        ledger: str,
        eager: bool = False,
    ) -> None:
        super().__init__(work, handler, blobs)
        self._settings = settings
        self._credentials, self._eager = credentials, eager
        self._ledger = hashlib.sha256(f"{settings.instance}/{ledger}".encode()).hexdigest()[:16]
        self._api = Kubernetes(settings.kubeconfig, settings.context)
        self._place: Place | None = None
        self._known: set[Handle] = set()
        self._connecting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._open = True
        if self._eager:
            self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What runs in the cluster goes on there."""
        self._open = False
        for handle in list(self._attempts):
            await self.leave(handle)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        await self._api.__aexit__(kind, error, trace)
        await asyncio.to_thread(self._work.close)
        self._news.tell()

    def check(self, revision: Revision) -> None:
        if revision.id not in self._checked:
            check(revision, self._settings)
            self._checked.add(revision.id)
        if fault := self._connected().secrets.fault(revision.module):
            raise UnavailableError(fault)

    def _attempt(self, assignment: Assignment) -> Attempt:
        handle = Handle(scope=self._scope, job=assignment.job.id, attempt=assignment.job.attempt)
        return Attempt(assignment, handle, self._connected(), known=handle in self._known)

    async def state(self, handle: Handle) -> Status:
        """One that is followed elsewhere is never more than running here: how it ended is its follower's to say."""
        if (attempt := self._attempts.get(handle)) is not None:
            return attempt.status
        if self._place is None or handle.scope != self._scope or await self._place.making.find(handle) is None:
            return Status(handle=handle, phase=Phase.UNKNOWN)
        self._known.add(handle)
        return self._unfollowed(handle, self._place)

    def waits_for(self, handle: Handle) -> str:
        """What an attempt that has not begun waits for, in a sentence of Kubernetes; empty if nothing is known."""
        attempt = self._attempts.get(handle)
        return attempt.waits_for if attempt is not None else ""

    async def recover(self) -> Sequence[Status]:
        if self._place is None:
            return ()
        found = await self._leftovers(self._place).handles()
        self._known = set(found)
        return [
            self._attempts[handle].status if handle in self._attempts else self._unfollowed(handle, self._place)
            for handle in found
        ]

    async def remove(self, handle: Handle) -> None:
        place = self._connected()
        if handle not in self._attempts and (work := await self._leftovers(place).assignment(handle)) is not None:
            self._known.add(handle)
            await self.submit(work)
        await self._ended(handle)
        await place.making.delete(handle)
        await self.leave(handle)

    # ---- the cluster --------------------------------------------------------------------------------------------

    def _connected(self) -> Place:
        """Raises UnavailableError until the cluster is reached; begins to reach for it."""
        if self._place is None:
            self._connect()
            raise UnavailableError(self._why or "the Kubernetes cluster is being connected to")
        return self._place

    def _connect(self) -> None:
        if self._open and self._connecting is None:
            self._connecting = asyncio.create_task(self._reach(), name="kubernetes")

    async def _reach(self) -> None:
        """Reaches for the cluster until it answers, then listens to it for ever."""
        backoff = Backoff()
        while self._place is None:
            try:
                self._place = await self._opened()
            except IonError as error:
                if not backoff.tries:
                    _LOG.warning("the Kubernetes cluster is not reached yet: %s", error)
                self._why = str(error)
                await asyncio.sleep(backoff.next_s(error))
        self._news.nudge()
        await self._place.watch.run()

    async def _opened(self) -> Place:
        api, settings = self._api, self._settings
        await api.__aenter__()
        namespace = settings.namespace or api.namespace
        scope = f"kubernetes:{await _cluster(api, namespace)}/{namespace}/{settings.instance}"
        making = Making(api, namespace, settings, self._ledger)
        await asyncio.to_thread(self._work.open)
        self._scope = scope
        return Place(
            api=api,
            settings=settings,
            making=making,
            watch=PodWatch(api, making.pods, making.selector, self._moved),
            secrets=ModuleSecrets(api, namespace, settings),
            credentials=self._credentials,
            handler=self._handler,
            blobs=self._blobs,
            work=self._work.path,
            pieces_s=lambda: min(MOST_PIECE_S, max(LEAST_PIECE_S, len(self._attempts) / 4)),
            changed=self._news.tell,
        )

    def _moved(self, key: Key) -> None:
        if not key[1].isdecimal():  # somebody else's pod
            return
        attempt = self._attempts.get(Handle(scope=self._scope, job=key[0], attempt=int(key[1])))
        if attempt is not None:
            attempt.moved()

    def _unfollowed(self, handle: Handle, place: Place) -> Status:
        begun = bool(place.watch.of((handle.job, str(handle.attempt))))
        return Status(handle=handle, phase=Phase.RUNNING if begun else Phase.PENDING)

    def _leftovers(self, place: Place) -> Leftovers:
        return Leftovers(place.api, place.making, self._scope)


def check(revision: Revision, settings: KubernetesSettings) -> None:
    """Whether a module can be a pod, as far as can be told without the cluster. Raises UnsupportedError."""
    if not revision.module.image:
        raise UnsupportedError(f"module {revision.module.name} has no image, and pods are made of images: give it one")
    try:
        check_module(revision, settings)
    except InvalidError as error:
        raise UnsupportedError(str(error)) from error


async def _cluster(api: Kubernetes, namespace: str) -> str:
    """What tells this cluster from others: a uid in it that stays as long as it does."""
    try:
        found = await api.get("/api/v1/namespaces/kube-system")
    except RefusedError as error:
        if error.status != 403:
            raise
        found = await api.get(f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt")
    return str(found["metadata"]["uid"])
