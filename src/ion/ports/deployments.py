"""Where dispatchers run when a platform keeps them: one deployment for each module.

The registry in the ledger says which modules there are; a deployment only follows it. So all verbs are idempotent and
level-triggered: whoever missed a change, or was cut off in the middle, asks for the same again.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

IDLE, READY, DEPLOYING, FAILED = "idle", "ready", "deploying", "failed"
"""How a deployment stands, in one word."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment that a module is to have.

    `environment` is the module's own, for people to look at. `basis` is what `Deployments.basis` gave: another one
    starts the dispatchers anew. There are to be `replicas` of them; if the platform scales by itself, at most `most`.
    """

    module: str
    environment: Mapping[str, str] = {}
    replicas: int
    most: int
    basis: str


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that is there. `version` changes when anybody changes what it is to be.

    `standing` is `idle` (no dispatcher is wanted), `ready`, `deploying` or `failed`; `message` is the sentence to it.
    """

    module: str
    replicas: int
    version: str
    standing: str
    message: str = ""


class Deployments(ABC):
    """Opened by `async with`; opening asks nothing of the platform. Every verb is safe to call concurrently.

    Raises, every verb:
        UnavailableError: the platform does not answer, or refuses for now (a right, a quota); says why.
        InvalidError: it never will take what is asked for.
    """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def basis(self) -> str:
        """What all dispatchers are started with, as a digest: image, template, and the versions of what they read.

        Raises:
            InvalidError: something that they read is not there; says what.
        """

    @abstractmethod
    async def list(self) -> Sequence[Deployed]:
        """Every deployment of this Ion, by module."""

    @abstractmethod
    async def get(self, module: str) -> Deployed | None:
        """The same of one module, with a closer look at why it is not ready; None: there is none."""

    @abstractmethod
    async def apply(self, wanted: Wanted) -> str:
        """Makes it such, whether it is there or not; asking for what is there already changes nothing.

        Returns:
            The version that it has now.
        """

    @abstractmethod
    async def delete(self, module: str) -> bool:
        """Its dispatchers are told to stop, and leave running jobs to others; does not wait. False: there was none."""
