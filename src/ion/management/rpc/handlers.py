"""The methods of `ion.v1` as handlers of gRPC, made from the verbs.

Handlers get and give bytes: so it is here that an undecodable request is refused with a sentence, as any other that
is wrong. A stream is written message by message, the next one read from the verb when the last has left: what a slow
client makes the server hold is one message and what gRPC has in its windows.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from ion.errors import InvalidError
from ion.management.rpc.calls import Call, Calls, Context
from ion.management.rpc.methods import ENDLESS, PACKAGE, PIECE_MOST, Method, methods
from ion.management.rpc.upload import Upload
from ion.management.spool import Spool
from ion.management.verbs import Management

M = TypeVar("M", bound=Message)
Who: TypeAlias = Callable[[Context], Management]
"""The verbs as the caller may use them; raises DeniedError for one that may not at all."""

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[bytes, bytes]


def parsed(raw: bytes, kind: type[M]) -> M:
    """The message in a request. Raises InvalidError."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidError(f"the request is no {kind.DESCRIPTOR.full_name}: {error}") from error


def ion_v1(who: Who, calls: Calls, spool: Spool) -> "dict[str, dict[str, Handler]]":
    """The handlers of every method, by service and name."""
    made: dict[str, dict[str, Handler]] = {}
    for method in methods():
        service, name = method.path.removeprefix("/").split("/")
        made.setdefault(service, {})[name] = _handler(method, who, calls, spool)
    assert all(service.startswith(PACKAGE) for service in made)
    return made


def _handler(method: Method, who: Who, calls: Calls, spool: Spool) -> "Handler":
    if method.arguments is None:
        return _upload(method, who, calls, spool)
    return _stream(method, who, calls) if method.streams else _unary(method, who, calls)


def _unary(method: Method, who: Who, calls: Calls) -> "Handler":
    arguments, (_, made, _) = method.arguments, method.answer
    assert arguments is not None
    endless = method.key in ENDLESS

    async def handle(raw: bytes, context: Context) -> bytes:
        async def work(call: Call) -> bytes:
            given = arguments.read(parsed(raw, arguments.message))
            verb = _verb(method, who(context))
            if endless:
                calls.endless(call)
                await context.send_initial_metadata(())  # says to the client that it is heard
            return made(await verb(**given)).SerializeToString()

        return await calls.answer(context, work)

    return grpc.unary_unary_rpc_method_handler(handle)


def _stream(method: Method, who: Who, calls: Calls) -> "Handler":
    arguments, (_, made, _) = method.arguments, method.answer
    assert arguments is not None
    endless = method.key in ENDLESS

    async def handle(raw: bytes, context: Context) -> None:
        async def work(call: Call) -> None:
            given = arguments.read(parsed(raw, arguments.message))
            results = _verb(method, who(context))(**given)
            if endless and given.get("follow", True):
                calls.endless(call)
            await context.send_initial_metadata(())  # it is heard: the first result may take long
            try:
                async for one in _pieces(results) if method.sends_bytes else results:
                    await call.send(context, made(one).SerializeToString())
            finally:
                if isinstance(results, AsyncGenerator):
                    await results.aclose()

        await calls.answer(context, work)

    return grpc.unary_stream_rpc_method_handler(handle)


def _upload(method: Method, who: Who, calls: Calls, spool: Spool) -> "Handler":
    made = method.answer.made

    async def handle(requests: AsyncIterator[bytes], context: Context) -> bytes:
        async def work(_: Call) -> bytes:
            verb = _verb(method, who(context))
            async with spool.open() as folder:
                upload = Upload(requests, folder)
                return made(await verb(event=await upload.event(), files=upload.files)).SerializeToString()

        return await calls.answer(context, work)

    return grpc.stream_unary_rpc_method_handler(handle)


def _verb(method: Method, management: Management) -> Callable[..., Any]:
    verb: Callable[..., Any] = getattr(getattr(management, method.group), method.verb)
    return verb


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """No longer than a message may be."""
    async for chunk in chunks:
        for start in range(0, len(chunk), PIECE_MOST):
            yield chunk[start : start + PIECE_MOST]
