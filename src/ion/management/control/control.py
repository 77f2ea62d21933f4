"""The loop that makes deployments agree with the registry, and their size with the queues.

It is level-triggered: each round compares all there is. Several of them, in several processes, do each other no harm:
what one has made, and how many, is so for the others too. A round costs one look at the platform, and one at the
ledger's indexes a module, whatever the length of the queues.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ion.dispatcher.backoff import Backoff
from ion.errors import IonError, NotFoundError
from ion.management.control.scale import Mark, Policy, decide
from ion.management.verbs.modules import ModuleState
from ion.model.job import State
from ion.ports.deployments import DEPLOYING, FAILED, READY, Deployed, Deployments, Wanted
from ion.ports.ledger import Changes, Ledger, Registered

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""A round at least so often: the end of a job is no news."""
LEAST_S = 0.5
"""Between two rounds, however much news there is."""
SOON_S = 10.0
"""What is due by then counts as waiting: a dispatcher takes about so long to start."""
UNKNOWN = "unknown"


class Control:
    """Keeps the dispatchers of the modules of one `provider`."""

    def __init__(
        self,
        ledger: Ledger,
        deployments: Deployments,
        policy: Policy,
        *,
        provider: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._deployments, self._policy = ledger, deployments, policy
        self._provider, self._clock = provider, clock
        self._recent: dict[str, Sequence[Mark]] = {}
        self._made: dict[str, tuple[Wanted, str]] = {}
        self._basis, self._why = "", ""
        self._trouble: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled; a ledger or a platform that is away is waited for."""
        backoff = Backoff("keeping the modules' dispatchers")
        async with self._ledger.listen(Changes.REGISTRY | Changes.DUE) as news:
            while True:
                try:
                    await self.round()
                    backoff.fine()
                    await asyncio.sleep(LEAST_S)
                    await news.wait(LOOK_S)
                except IonError as error:
                    await backoff.wait(error)

    async def round(self) -> None:
        """One comparison. A module that cannot be served keeps no other from it."""
        await self._read_basis()
        waiting = await self._ledger.waiting()
        registered = {one.module.name: one for one in await self._ledger.modules() if self._is_ours(one)}
        present = {one.module: one for one in await self._deployments.list()}
        for name in registered.keys() | present.keys():
            try:
                if name in registered:
                    await self._keep(registered[name], present.get(name), waiting)
                else:
                    await self._end(name)
                self._say(name, "")
            except IonError as error:
                self._say(name, str(error))
        for gone in self._trouble.keys() - registered.keys() - present.keys():
            del self._trouble[gone]

    async def judged(self, state: ModuleState) -> ModuleState:
        """How a module fares, with what is to be said of its dispatchers. What a person did comes first."""
        if state.standing not in (READY, "unserved") or not self._is_ours(state.registered):
            return state
        standing, message = await self._standing(state.registered.module.name)
        if standing == READY:
            return state
        return msgspec.structs.replace(state, standing=standing, message=message)

    async def _standing(self, module: str) -> tuple[str, str]:
        if trouble := self._trouble.get(module):
            return FAILED, trouble
        try:
            found = await self._deployments.get(module)
        except IonError as error:
            return UNKNOWN, str(error)
        return (found.standing, found.message) if found else (DEPLOYING, "its dispatchers are being made")

    async def _read_basis(self) -> None:
        """While it cannot be read, what is there stays as it is, but for its size."""
        try:
            self._basis, self._why = await self._deployments.basis(), ""
        except IonError as error:
            self._why = str(error)

    async def _keep(
        self, registered: Registered, present: Deployed | None, waiting: Mapping[str, float | None]
    ) -> None:
        module, policy = registered.module, self._policy_of(registered)
        made, recent = self._made.get(module.name), self._recent.get(module.name, ())
        if present is not None and (made is None or made[1] != present.version):
            recent = [Mark(at_s=self._clock(), wanted=present.replicas)]  # another's number counts like one's own
        replicas, self._recent[module.name] = decide(
            recent, await self._open(registered, policy, waiting), policy, now_s=self._clock()
        )
        if not self._basis:
            return
        wanted = Wanted(
            module=module.name, environment=module.env, replicas=replicas, most=policy.most, basis=self._basis
        )
        if present is None or made != (wanted, present.version):
            self._made[module.name] = wanted, await self._deployments.apply(wanted)

    async def open_jobs(self, module: str) -> int:
        """How many jobs of a module there are for dispatchers, for a scaler elsewhere. Raises NotFoundError."""
        for one in await self._ledger.modules():
            if one.module.name == module and self._is_ours(one):
                return await self._open(one, self._policy_of(one), await self._ledger.waiting())
        raise NotFoundError(f"there is no module {module} whose dispatchers are kept")

    def _policy_of(self, registered: Registered) -> Policy:
        """More dispatchers than jobs may run at a time would have nothing to do."""
        most = max(self._policy.least, min(self._policy.most, registered.module.concurrency))
        return msgspec.structs.replace(self._policy, most=most)

    async def _open(self, registered: Registered, policy: Policy, waiting: Mapping[str, float | None]) -> int:
        """How many jobs there are for dispatchers, counted as far as it matters."""
        name = registered.module.name
        jobs = (await self._ledger.load(name, policy.most * policy.per_replica)).jobs
        due_s = waiting.get(name)
        waits = not registered.paused and due_s is not None and due_s <= SOON_S
        return (jobs.get(State.WAITING, 0) if waits else 0) + jobs.get(State.RUNNING, 0) + jobs.get(State.COMMITTED, 0)

    async def _end(self, module: str) -> None:
        """Its module is gone; what still runs is brought to its end first."""
        jobs = (await self._ledger.load(module, 1)).jobs
        if not jobs.get(State.RUNNING) and not jobs.get(State.COMMITTED):
            await self._deployments.delete(module)
            self._recent.pop(module, None)
            self._made.pop(module, None)

    def _is_ours(self, registered: Registered) -> bool:
        return self._provider in registered.module.providers

    def _say(self, module: str, trouble: str) -> None:
        """Keeps what is the matter with a module for whoever asks, and logs it when it begins."""
        trouble = trouble or self._why
        if trouble and self._trouble.get(module) != trouble:
            log.warning("the dispatchers of module %s are not as they should be: %s", module, trouble)
        self._trouble[module] = trouble
