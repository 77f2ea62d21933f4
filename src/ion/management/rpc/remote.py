"""`Management` done elsewhere: each verb asks a server, and gives or raises what that one does.

The groups are made from the abstract classes of the verbs, as the server's methods are. A deadline bounds every unary
call; where nobody knows how long it takes (a stream, which may look through all that is stored, the wait for a flow),
it bounds the wait for the server to say that it heard.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from ion.errors import InvalidError, UnavailableError, UnsupportedError
from ion.management.events import Raised
from ion.management.rpc.ion_v1_pb2 import EventsCreateRequest
from ion.management.rpc.methods import ENDLESS, Answer, Method, groups, methods
from ion.management.rpc.status import error_of
from ion.management.rpc.upload import parts
from ion.management.verbs import (
    BusVerbs,
    EventVerbs,
    FindingVerbs,
    FlowVerbs,
    JobVerbs,
    LetterVerbs,
    Management,
    ModuleVerbs,
    ServerVerbs,
)
from ion.management.verbs.events import Files, NewEvent

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
PORT: Final = 9000
RECEIVE_MOST: Final = 128 * 1024 * 1024
"""Bytes of one answer: a page of a thousand jobs, each row as large as a row may be."""
PING_S: Final = 30.0
ANSWER_S: Final = 10.0
"""A server that has not answered a ping by then is gone: who follows a log is told so."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", RECEIVE_MOST),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", round(PING_S * 1000)),
    ("grpc.keepalive_timeout_ms", round(ANSWER_S * 1000)),
    ("grpc.http2.ping_timeout_ms", round(ANSWER_S * 1000)),  # else no less than a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # who looks all the time sees soon that a server is back
)


class Line:
    """The channel to a server: what all groups of verbs share."""

    def __init__(self, channel: grpc.aio.Channel, endpoint: str, timeout_s: float) -> None:
        self.channel, self.endpoint, self.timeout_s = channel, endpoint, timeout_s

    @contextmanager
    def errors(self) -> "Generator[None]":
        """Turns how a call ended into Ion's errors."""
        try:
            yield
        except grpc.aio.AioRpcError as refused:
            raise error_of(refused, self.endpoint) from refused
        except TimeoutError as error:
            raise UnavailableError(
                f"no answer from Ion at {self.endpoint} within {self.timeout_s:g} s: is it up, and reachable?"
            ) from error

    def understood(self, answer: Answer, raw: bytes) -> Any:
        """What a verb gives for an answer. Raises UnsupportedError: it is none that is known here."""
        try:
            return answer.read(answer.message.FromString(raw))
        except (DecodeError, InvalidError) as error:
            raise UnsupportedError(
                f"Ion at {self.endpoint} answers what this client cannot read, it is of another version: {error}"
            ) from error

    async def within(self, waiting: Awaitable[T]) -> T:
        async with asyncio.timeout(self.timeout_s):
            return await waiting


class RemoteManagement(Management):
    """The verbs by way of a channel, which whoever made this closes. `endpoint` is what errors call the server."""

    def __init__(
        self, channel: grpc.aio.Channel, *, endpoint: str = "the server", timeout_s: float = TIMEOUT_S
    ) -> None:
        line = Line(channel, endpoint, timeout_s)
        self._groups: dict[str, Any] = {name: kind(line) for name, kind in _kinds().items()}

    @property
    def jobs(self) -> JobVerbs:
        return cast("JobVerbs", self._groups["jobs"])

    @property
    def letters(self) -> LetterVerbs:
        return cast("LetterVerbs", self._groups["letters"])

    @property
    def flows(self) -> FlowVerbs:
        return cast("FlowVerbs", self._groups["flows"])

    @property
    def modules(self) -> ModuleVerbs:
        return cast("ModuleVerbs", self._groups["modules"])

    @property
    def events(self) -> EventVerbs:
        return cast("EventVerbs", self._groups["events"])

    @property
    def bus(self) -> BusVerbs:
        return cast("BusVerbs", self._groups["bus"])

    @property
    def findings(self) -> FindingVerbs:
        return cast("FindingVerbs", self._groups["findings"])

    @property
    def server(self) -> ServerVerbs:
        return cast("ServerVerbs", self._groups["server"])


# ---- the groups ---------------------------------------------------------------------------------------------------


class _Group:
    """What a group of verbs is made with; its verbs are added by `_kinds`."""

    def __init__(self, line: Line) -> None:
        self.line = line


@cache
def _kinds() -> dict[str, type]:
    verbs: dict[str, dict[str, object]] = {}
    for method in methods():
        verbs.setdefault(method.group, {})[method.verb] = _verb(method)
    return {
        name: type(f"Remote{abstract.__name__}", (_Group, abstract), verbs[name]) for name, abstract in groups().items()
    }


def _verb(method: Method) -> Callable[..., Any]:
    if method.arguments is None:
        return _upload(method)
    return _stream(method) if method.streams else _unary(method)


def _unary(method: Method) -> Callable[..., Any]:
    arguments, answer = method.arguments, method.answer
    assert arguments is not None
    endless = method.key in ENDLESS

    async def verb(self: _Group, **given: Any) -> Any:
        line = self.line
        request = arguments.made(given)
        way = line.channel.unary_stream if endless else line.channel.unary_unary  # only a stream tells that it is heard
        ask: Any = way(method.path, type(request).SerializeToString)
        with line.errors():
            if not endless:
                return line.understood(answer, await ask(request, timeout=line.timeout_s))
            with _left(ask(request)) as call:
                await line.within(call.initial_metadata())
                return line.understood(answer, await anext(aiter(call)))

    return verb


def _stream(method: Method) -> Callable[..., Any]:
    arguments, answer = method.arguments, method.answer
    assert arguments is not None

    async def verb(self: _Group, **given: Any) -> AsyncIterator[Any]:
        line = self.line
        request = arguments.made(given)
        ask: Any = line.channel.unary_stream(method.path, type(request).SerializeToString)
        with line.errors(), _left(ask(request)) as call:
            await line.within(call.initial_metadata())
            async for one in call:
                yield line.understood(answer, one)

    return verb


def _upload(method: Method) -> Callable[..., Any]:
    async def verb(self: _Group, *, event: NewEvent, files: Files = ()) -> Raised:
        line = self.line
        files = await files() if callable(files) else files
        ask: Any = line.channel.stream_unary(method.path, EventsCreateRequest.SerializeToString)
        with line.errors(), _left(ask()) as call:
            await line.within(call.wait_for_connection())
            async with aclosing(parts(event, files)) as upload:
                async for part in upload:
                    if not await line.within(_sent(call, part)):
                        break
                else:
                    await call.done_writing()
            raised: Raised = line.understood(method.answer, await line.within(call))
            return raised

    return verb


async def _sent(call: Any, part: EventsCreateRequest) -> bool:
    """Whether it went: not if the server has ended the call, refused it, that is.

    This is what `call.write` does, but for its habit of putting a status of its own in the place of the server's.
    """
    if call.done():
        return False
    try:
        await call._cython_call.send_serialized_message(part.SerializeToString())  # noqa: SLF001
    except grpc.aio.InternalError:
        return False
    return True


@contextmanager
def _left(call: Any) -> "Generator[Any]":
    """Ends the call when it is left, wherever that is."""
    try:
        yield call
    finally:
        call.cancel()


# ---- opening ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_remote(
    endpoint: str,
    *,
    timeout_s: float = TIMEOUT_S,
    certfile: str = "",
    keyfile: str = "",
    cacertfile: str = "",
) -> AsyncGenerator[RemoteManagement]:
    """The verbs of the server at `endpoint` (`HOST:PORT`; without a port, 9000); it is spoken to when a verb is used.

    Insecure only if no file is given. `cacertfile` is the CA that the server's certificate must be of (else those that
    gRPC comes with), `certfile` and `keyfile` are what this side shows.

    Raises:
        InvalidError: only one of certificate and key is given, a file cannot be read, or there is no endpoint.
    """
    target = target_of(endpoint)
    credentials = _credentials(certfile, keyfile, cacertfile)
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options=OPTIONS)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options=OPTIONS)
    async with channel:
        yield RemoteManagement(channel, endpoint=target, timeout_s=timeout_s)


def target_of(endpoint: str) -> str:
    """Host and port. Raises InvalidError: it is empty."""
    host = endpoint.strip()
    if not host:
        raise InvalidError("the endpoint is empty: give HOST:PORT of a management API")
    bare = host.rpartition("]")[2] if host.startswith("[") else host
    return host if ":" in bare else f"{host}:{PORT}"


def _credentials(certfile: str, keyfile: str, cacertfile: str) -> grpc.ChannelCredentials | None:
    if not (certfile or keyfile or cacertfile):
        return None
    if bool(certfile) != bool(keyfile):
        given, missing = ("certificate", "key") if certfile else ("key", "certificate")
        raise InvalidError(f"a {given} is given without its {missing}: give both, or neither")
    return grpc.ssl_channel_credentials(
        root_certificates=_content(cacertfile), private_key=_content(keyfile), certificate_chain=_content(certfile)
    )


def _content(file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise InvalidError(f"{file} cannot be read: {error.strerror}") from error
