"""Something that comes between a caller and all verbs of a `Management`, without naming each of them."""

from abc import ABC, ABCMeta, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cache, partial
from inspect import iscoroutinefunction
from typing import Any, cast, get_type_hints

from ion.management.verbs import Management

Arguments = Mapping[str, Any]
Call = Callable[[Arguments], Awaitable[Any]]
Stream = Callable[[Arguments], AsyncGenerator[Any]]


class Around(ABC):
    """What is done around a verb, named `jobs.retry`. `go` does the verb itself, with these arguments or others."""

    @abstractmethod
    async def call(self, verb: str, arguments: Arguments, go: Call) -> Any: ...

    @abstractmethod
    def stream(self, verb: str, arguments: Arguments, go: Stream) -> AsyncGenerator[Any]: ...


@cache
def groups() -> Mapping[str, ABCMeta]:
    """The abstract class of each group of verbs, by the name of its property."""
    properties = {name: getattr(Management, name) for name in sorted(Management.__abstractmethods__)}
    return {name: get_type_hints(value.fget)["return"] for name, value in properties.items()}


@cache
def verbs() -> frozenset[str]:
    """The names of all verbs."""
    return frozenset(f"{group}.{name}" for group, kind in groups().items() for name in kind.__abstractmethods__)


def wrapped(management: Management, around: Around) -> Management:
    """The same verbs, with something done around each of them."""
    return cast("Management", _Wrapped(management, around))


class _Wrapped:
    """A group is wrapped when it is asked for: a call of the API needs one of them."""

    def __init__(self, management: Management, around: Around) -> None:
        self._management, self._around = management, around

    def __getattr__(self, group: str) -> Any:
        if group not in groups():
            raise AttributeError(group)
        made = _group(group)(getattr(self._management, group), self._around)
        setattr(self, group, made)
        return made


Management.register(_Wrapped)


@cache
def _group(group: str) -> Callable[[Any, Around], Any]:
    """The class that wraps a group of verbs."""
    kind = groups()[group]

    def create(self: Any, verbs: Any, around: Around) -> None:
        self.verbs, self.around = verbs, around

    members: dict[str, Any] = {"__init__": create}
    for name in kind.__abstractmethods__:
        make = _call if iscoroutinefunction(getattr(kind, name)) else _stream
        members[name] = make(f"{group}.{name}", name)
    return cast("Callable[[Any, Around], Any]", type(f"Wrapped{kind.__name__}", (kind,), members))


def _call(verb: str, name: str) -> Callable[..., Awaitable[Any]]:
    async def call(self: Any, **arguments: Any) -> Any:
        return await self.around.call(verb, arguments, lambda given: getattr(self.verbs, name)(**given))

    return call


def _stream(verb: str, name: str) -> Callable[..., AsyncIterator[Any]]:
    async def stream(self: Any, **arguments: Any) -> AsyncIterator[Any]:
        async with aclosing(self.around.stream(verb, arguments, partial(_closing, self.verbs, name))) as rows:
            async for row in rows:
                yield row

    return stream


async def _closing(verbs: Any, name: str, arguments: Arguments) -> AsyncGenerator[Any]:
    """A verb may give any iterator; one that can be closed is, when it is left."""
    rows = getattr(verbs, name)(**arguments)
    try:
        async for row in rows:
            yield row
    finally:
        if hasattr(rows, "aclose"):
            await rows.aclose()
