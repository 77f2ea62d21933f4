"""The executor starts attempts where they fit and tells their state. And the handler, which it wraps around them.

The dispatcher hands an executor a whole `Assignment`. The executor calls the handler (in this process, or as a program
in a pod): prepare, module, commit. The handler holds a blob credential and nothing else (R8).
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from ion.model.job import Failure, Job
from ion.model.manifest import ManifestRef, Usage
from ion.model.module import Resources, Revision

OF_A_HOST = "local:"
"""How scopes begin whose attempts end with their host's dispatcher, so that nobody elsewhere could go on with them."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to be made: the job as claimed (its attempt, devices) and the revision it runs."""

    job: Job
    revision: Revision


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """Names a submitted attempt within a scope (this boot of this host, a namespace, a Batch account)."""

    scope: str
    job: str
    attempt: int


class Phase(StrEnum):
    PENDING = "pending"  # submitted, the module has not started
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # committed by the handler: the manifest is written
    FAILED = "failed"
    UNKNOWN = "unknown"  # the executor knows nothing of this attempt


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt stands. With SUCCEEDED comes `manifest`, with FAILED `failure`; `log` is the log's blob path once
    it is stored, always before either. The module ran from `began_s` to `ended_s`, in seconds since the epoch; 0 is for
    what is not known, which costs nothing but a line in a trace.
    """

    handle: Handle
    phase: Phase
    manifest: ManifestRef | None = None
    failure: Failure | None = None
    log: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0

    @property
    def final(self) -> bool:
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)


class ExecutorGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """`scope`: where its handles mean something, empty while that place has not been reached yet. `adopts`: attempts
    outlive the dispatcher, and another one goes on with them by submitting them again; else `recover` ends what a dead
    dispatcher left behind.
    """

    scope: str
    adopts: bool


class Executor(ABC):
    """Opened by `async with`. Safe to call concurrently."""

    @property
    @abstractmethod
    def guarantees(self) -> ExecutorGuarantees: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends what still runs here, where the executor does not adopt; else follows it no longer."""

    @property
    @abstractmethod
    def capacity(self) -> Resources:
        """What the place has in all; a zero is no bound."""

    @property
    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """The gpu devices of the place, by the names that the module will see them under."""

    @abstractmethod
    def check(self, revision: Revision) -> None:
        """Whether the module can be run here, as far as can be told beforehand.

        Raises:
            UnsupportedError: it never can; says what to do.
            UnavailableError: not now, a secret is missing, say; it may be asked again at any time.
        """

    @abstractmethod
    async def submit(self, assignment: Assignment) -> Handle:
        """Starts an attempt, or finds it if it was submitted before: here or, where attempts are adopted, by another
        dispatcher. It is followed from now on. Returns soon; progress comes by `watch`.

        Raises:
            UnavailableError: no room or no answer; submit again later.
        """

    @abstractmethod
    async def state(self, handle: Handle) -> Status:
        """How the attempt stands now. One that is not followed here is never final, whatever it is: it has no log yet.

        Raises:
            UnavailableError: that cannot be found out now.
        """

    @abstractmethod
    def watch(self) -> AsyncIterator[Sequence[Status]]:
        """States of what is followed here as they change, in batches. Level-triggered: a final state is told again
        until `remove`. An empty batch says that the place has become able to do more.
        """

    @abstractmethod
    def logs(self, handle: Handle, *, start: int = 0) -> AsyncIterator[bytes]:
        """What the attempt has logged so far, from byte `start`; ends at what there is. NotFoundError if nothing."""

    @abstractmethod
    async def cancel(self, handle: Handle, failure: Failure | None = None) -> None:
        """Ends the attempt (SIGTERM, the module's grace, SIGKILL). It becomes FAILED, with `failure` if given."""

    @abstractmethod
    async def recover(self) -> Sequence[Status]:
        """Attempts of this scope that are still there.

        Where the executor does not adopt, they are those that no living dispatcher of this host watches: their
        processes are ended and their logs stored first; each comes FAILED as `lost`, or SUCCEEDED if its manifest is
        written. Where it adopts, they are all, whoever follows them: the ledger says whose they are. They are not
        touched, and none that is not followed here comes as final.

        Raises:
            UnavailableError: that cannot be found out now.
        """

    async def leave(self, handle: Handle) -> None:  # noqa: B027 - who does not adopt has nobody to leave them to
        """Follows an attempt no longer, which goes on: another dispatcher has it now. Repeating it is harmless."""

    @abstractmethod
    async def remove(self, handle: Handle) -> None:
        """Forgets an attempt that was settled or committed, and clears up after it; its log is stored before that.

        Repeating it is harmless.

        Raises:
            UnavailableError: not now.
        """


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared directory. `directory` is what the module sees (`in`, `out`); `environment` the contract's variables;
    `linked` the files below it that are links to stored blobs and must be kept from change; `inputs` every file of
    `in/data` as it was prepared. `prepared_at_s` is seconds since the epoch.
    """

    execution: str
    directory: Path
    environment: Mapping[str, str]
    linked: tuple[Path, ...] = ()
    prepared_at_s: float = 0.0


class Handler(Protocol):
    """What an executor runs around the module."""

    async def prepare(
        self,
        assignment: Assignment,
        directory: Path,
        *,
        execution: str = "",
        sees: str = "",
        cleared: bool = False,
    ) -> Workspace:
        """Builds the module's directory at `directory` (which must not exist).

        It is a new random execution; an executor that never runs an attempt twice may choose its id.

        `sees` is the path under which the module will see it, where that differs (`/ion` in a container). With
        `cleared` the directory is there, as `clear` left it.

        Raises:
            UnavailableError: the blob store is away; NotFoundError: an input is gone.
        """

    def begun(self, job: str, attempt: int, execution: str) -> None:
        """The module has begun: there is time now for what commit will need."""

    def clear(self, directory: str) -> bool:
        """Empties a directory of an attempt that is over, for another `prepare`.

        Returns:
            False if it is not just as it was made, or holds much: then it is to be deleted.
        """

    async def commit(
        self, assignment: Assignment, workspace: Workspace, *, log: Path | None, usage: Usage, started_at_s: float
    ) -> ManifestRef:
        """Stores what the directory holds, the log included, and writes the manifest last.

        Raises:
            ContractError: the output breaks the contract; nothing of it is visible (the log is for `keep_log`).
        """

    async def keep_log(self, job: str, attempt: int, execution: str, log: Path) -> str:
        """Stores the log of an execution without results; nobody writes to it any more. Returns its blob path.

        Repeating it is harmless.
        """

    async def find_manifest(self, job: str, attempt: int) -> ManifestRef | None:
        """The manifest of an attempt whose end was not seen, if one of its executions wrote it."""

    async def find_log(self, job: str, attempt: int) -> str:
        """The blob path of the log of an attempt whose end was not seen, empty if nothing of it is stored.

        What was stored in pieces while it ran is put together first. Repeating it is harmless.
        """
