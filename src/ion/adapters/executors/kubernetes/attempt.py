"""One attempt in the cluster, from its making to its last state.

Its task sleeps until the watch tells that one of its pods changed, or until a time limit; then it looks at the pods as
they stand, never at what changed. So nothing hangs on having seen every step: the same code follows an attempt that
another dispatcher made. It ends in a final status, and before that its log is stored (R7).
"""

import asyncio
import logging
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from ion.adapters.executors import ends
from ion.adapters.executors.backoff import Backoff
from ion.adapters.executors.followed import NEVER, FollowedAttempt, Shared, loop_s, persistently
from ion.adapters.executors.kubernetes import failures
from ion.adapters.executors.kubernetes.client import Document, Kubernetes
from ion.adapters.executors.kubernetes.logs import AttemptLog, drop_pieces
from ion.adapters.executors.kubernetes.making import Credential, Credentials, Making
from ion.adapters.executors.kubernetes.pods import created_s
from ion.adapters.executors.kubernetes.ran import ran
from ion.adapters.executors.kubernetes.secrets import ModuleSecrets
from ion.adapters.executors.kubernetes.seen import Seen, see, vanished, without_pod
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.adapters.executors.kubernetes.status import (
    has_begun,
    has_ended,
    has_failed,
    has_finished,
    has_stopped,
    is_going,
    is_over,
)
from ion.adapters.executors.kubernetes.watch import PodWatch
from ion.errors import IonError, NotFoundError, UnavailableError
from ion.model.manifest import piece_path, pieces_prefix
from ion.ports.executor import Assignment, Handle, Phase, Status

MAKING_S = 30.0
"""How long making an attempt is tried again, before the ledger is told that it is not possible now."""
PODLESS_S, PODLESS_MOST_S = 2.0, 60.0
"""After so long without a pod the Job is asked what becomes of it; then ever more rarely, as it may be one of many."""
ENDED_S = 60.0
"""How long beyond their grace pods may take to end before they count as gone with their node."""
_LOG = logging.getLogger(__name__)


class _EndedError(UnavailableError):
    """It is to end, and was not made yet."""


@dataclass(frozen=True, kw_only=True)
class Place(Shared):
    """What all attempts of one executor share."""

    api: Kubernetes
    settings: KubernetesSettings
    making: Making
    watch: PodWatch
    secrets: ModuleSecrets
    credentials: Credentials


class Attempt(FollowedAttempt[AttemptLog]):
    """One attempt; see `FollowedAttempt`. `known`: it is there already."""

    def __init__(self, assignment: Assignment, handle: Handle, place: Place, *, known: bool) -> None:
        super().__init__(assignment, handle, place)
        self._place, self._known = place, known
        self._execution = ""
        self.waits_for = ""
        self._had_pods = False
        self._timed = ""
        self._podless_s = PODLESS_S
        self._ending = Backoff()
        self._start_by = self._late_by = self._look_at = self._end_by = NEVER

    async def close(self) -> None:
        """Stops reading its log; the attempt itself goes on."""
        if self.log is not None:
            await self.log.close()
            self.log.file.unlink(missing_ok=True)

    # ---- its life -----------------------------------------------------------------------------------------------

    async def _live(self) -> Status:
        credential = await self._made()
        async with asyncio.TaskGroup() as beside:
            helpers = [
                beside.create_task(self._renew(credential), name=f"credential of {self._handle.job}"),
                beside.create_task(self._store_pieces(), name=f"pieces of {self._handle.job}"),
            ]
            try:
                seen = await self._followed()
            finally:
                for helper in helpers:
                    helper.cancel()
        return await self._settled(seen)

    async def _made(self) -> Credential:
        """Makes it, or finds it; what is refused now is tried again for a while, and as long as it is known to run."""
        place, backoff, until = self._place, Backoff(), loop_s() + MAKING_S
        while True:
            self._moved.clear()
            try:
                await self._go_on()
                if self.log is None:
                    self.log = self._new_log(await place.secrets.values(self._module))
                credential = await place.credentials(self._assignment)
                _, is_new = await place.making.make(self._assignment, credential)
            except UnavailableError as error:
                over = isinstance(error, _EndedError) or bool(place.secrets.fault(self._module))
                if over or (loop_s() > until and not await self._is_there(until)):
                    raise
                await self._sleep_until(loop_s() + backoff.next_s(error))
            else:
                self._adopted, self._look_at = not is_new, loop_s() + PODLESS_S
                return credential

    async def _is_there(self, until: float) -> bool:
        """Whether it is known to be there, or may be: a request may have been heard whose answer was not."""
        try:
            self._known = self._known or await self._place.making.find(self._handle) is not None
        except UnavailableError:
            return loop_s() < until + MAKING_S
        return self._known

    async def _go_on(self) -> None:
        """Raises _EndedError if it is not to be made any more; what is there already has a log to be read."""
        if self._verdict is not None and await self._place.making.find(self._handle) is None:
            raise _EndedError(self._verdict.message)

    def _new_log(self, secrets: Sequence[str]) -> AttemptLog:
        limit = self._module.log_limit
        pods = self._place.making.pods
        return AttemptLog(self._place.api, pods, self._log_file(), limit=limit, secrets=secrets, read=self.moved)

    async def _followed(self) -> Seen:
        """Until it has ended, and how."""
        log = self.log
        assert log is not None
        await self._place.watch.ready.wait()
        while True:
            self._moved.clear()
            pods = self._place.watch.of((self._handle.job, str(self._handle.attempt)))
            log.see(pods)
            seen = self._look(pods)
            if self._verdict is not None and self._end_by == NEVER:
                await self._end(log, pods)
            elif (over := await self._over(log, pods, seen)) is not None:
                return over
            await self._sleep_until(min(self._start_by, self._late_by, self._look_at, self._end_by))

    def _look(self, pods: Sequence[Document]) -> Sequence[Seen]:
        """How the pods stand. Notes that the module begins, and ends what takes too long."""
        now_s, place = self._place.api.now_s(), self._place
        seen = [see(pod, self._module, place.settings, now_s=now_s, heard=self.waits_for) for pod in pods]
        for pod, one in zip(pods, seen, strict=True):
            self._had_pods, self._start_by, self._look_at, self._podless_s = True, NEVER, NEVER, PODLESS_S
            self._execution = one.execution or self._execution or pod["metadata"]["uid"]
            began_s, ended_s = ran(pod)
            self._began_s, self._ended_s = began_s or self._began_s, ended_s or self._ended_s
            if one.phase is Phase.PENDING and self._verdict is None:
                self.waits_for = one.message or self.waits_for
                self._start_by = loop_s() + one.fails_at_s - now_s if one.fails_at_s else NEVER
            if one.started_at_s and self._verdict is None and not is_over(pod):
                self._running(pod, one, now_s)
            if one.failure is not None and not (is_over(pod) or is_going(pod) or has_failed(pod)):
                self.stop(one.failure)  # it waits for what does not come
        if loop_s() >= self._late_by:
            self.stop(ends.late(self._module))
        return seen

    def _running(self, pod: Document, seen: Seen, now_s: float) -> None:
        if seen.ended_at_s:
            self._late_by = NEVER
        elif self._timed != pod["metadata"]["uid"]:
            self._timed = pod["metadata"]["uid"]
            ran_s = max(0.0, now_s - seen.started_at_s) if self._adopted else 0.0
            self._late_by = loop_s() + max(0.0, self._module.timeout_s - ran_s)
        if self.status.phase is Phase.PENDING:
            self._tell(msgspec.structs.replace(self.status, phase=Phase.RUNNING))

    async def _over(self, log: AttemptLog, pods: Sequence[Document], seen: Sequence[Seen]) -> Seen | None:
        """How it ended; None while it has not."""
        ended = [has_ended(pod) or has_stopped(pod) or (is_over(pod) and log.is_read) for pod in pods]
        if self._verdict is not None:
            waits = self._end_by == NEVER or not all(ended)
            return None if waits and loop_s() < self._end_by else Seen(phase=Phase.FAILED, failure=self._verdict)
        for one in seen:
            if one.phase is Phase.SUCCEEDED:
                return one
        lost = [is_going(pod) and one.failure is not None for pod, one in zip(pods, seen, strict=True)]
        if not all(map(operator.or_, ended, lost)):
            return None
        told = [one for pod, one in zip(pods, seen, strict=True) if not is_going(pod)]
        return told[-1] if told else await self._without_pods(pods)

    async def _without_pods(self, going: Sequence[Document]) -> Seen | None:
        """Asks the Job: it may be gone, have ended, be about to make another pod, or wait for room."""
        if self._had_pods and self._look_at == NEVER:
            self._look_at = loop_s()
        if loop_s() < self._look_at:
            return None
        try:
            job = await self._place.making.find(self._handle)
            if job is not None and not has_finished(job):
                await self._podless(job)
            elif not await self._place.making.has_more(self._handle, going):  # else the watch has not told of it yet
                self._place.making.forget_owner(self._module)
                last = going[-1] if going else None if job is None else {"metadata": {}}
                return Seen(phase=Phase.FAILED, failure=vanished(last))
        except IonError as error:
            _LOG.warning("job %s attempt %d has no pod: %s", self._handle.job, self._handle.attempt, error)
        self._look_at = loop_s() + self._podless_s
        self._podless_s = min(PODLESS_MOST_S, 3 * self._podless_s)
        return None

    async def _podless(self, job: Document) -> None:
        """Notes why a Job has no pod yet, and ends it if it never will."""
        self.waits_for = await self._place.making.why_podless(job)
        now_s = self._place.api.now_s()
        stands = without_pod(created_s(job), self._module, now_s=now_s, why=self.waits_for)
        if stands.failure is not None:
            self.stop(stands.failure)
        self._podless_s = min(self._podless_s, max(0.1, stands.fails_at_s - now_s))

    async def _end(self, log: AttemptLog, pods: Sequence[Document]) -> None:
        """Ends its pods; their last words are read meanwhile."""
        self._start_by = self._late_by = self._look_at = NEVER
        if pods:
            await log.attach(pods[-1])
        try:
            await self._place.making.end(self._handle, [pod for pod in pods if has_begun(pod)])
        except IonError as error:
            _LOG.warning("job %s attempt %d cannot be ended yet: %s", self._handle.job, self._handle.attempt, error)
            asyncio.get_running_loop().call_later(self._ending.next_s(error), self._moved.set)
            return
        self._end_by = loop_s() + self._module.grace_s + ENDED_S
        self._moved.set()

    # ---- its end ------------------------------------------------------------------------------------------------

    async def _settled(self, seen: Seen) -> Status:
        """The final status, once its log is stored."""
        if seen.failure is not None:
            return await self._failed(seen.failure)
        message = "commit ended well, but its manifest is not here: its pods write to other blobs than Ion reads"
        return await self._succeeded(failures.trouble(message))

    async def _keep_log(self) -> str:
        """Stores the whole log. Returns its blob path, empty if it never logged."""
        handle, execution = self._handle, self._execution
        if self.log is not None:
            self.log.see(())
            if fault := await self.log.complete():
                _LOG.error("%s", fault)
        if self.log is None or not self.log.begun:  # its pods are gone, or it was ended before they were looked for
            return await persistently(partial(self._place.handler.find_log, handle.job, handle.attempt))
        keep = partial(self._place.handler.keep_log, handle.job, handle.attempt, execution, self.log.file)
        path = await persistently(keep)
        if self.log.in_pieces or self._adopted:
            await drop_pieces(self._place.blobs, pieces_prefix(handle.job, handle.attempt, execution))
        return path

    # ---- beside -------------------------------------------------------------------------------------------------

    async def _renew(self, credential: Credential) -> None:
        """Gives it another credential at half the life of the one it has."""
        while credential.lasts_s is not None:
            await asyncio.sleep(credential.lasts_s / 2)
            backoff = Backoff()
            while True:
                try:
                    credential = await self._place.credentials(self._assignment)
                    await self._place.making.renew(self._assignment, credential)
                    break
                except NotFoundError:  # it is being deleted
                    return
                except IonError as error:
                    _LOG.warning("the blob credential of job %s cannot be renewed yet: %s", self._handle.job, error)
                    await asyncio.sleep(backoff.next_s(error))

    async def _store_pieces(self) -> None:
        """Stores what the growing log has new, every few seconds."""
        while True:
            await asyncio.sleep(self._place.pieces_s())
            if self.log is None or not self._execution:
                continue
            path = partial(piece_path, self._handle.job, self._handle.attempt, self._execution)
            try:
                await self.log.store_piece(self._place.blobs, path)
            except (IonError, OSError) as error:
                _LOG.warning("a piece of the log of job %s cannot be stored yet: %s", self._handle.job, error)
