"""The original's ModuleService and TraceService, on the verbs of today.

Its clients send texts where Ion has types: event types separated by commas, a provider in any case. What they leave
out gets the original's defaults. A deployed name is the module's name, a dash and the first digits of its revision: it
changes when the configuration does, as it did there.
"""

import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import grpc
import msgspec
from google.protobuf.message import Message

from ion.errors import ConflictError, InvalidError
from ion.management.created import INSTANCES, MINUTES, PROVIDER, created, deployed_name
from ion.management.rpc import original_pb2 as pb
from ion.management.rpc.calls import Call, Calls, Context
from ion.management.rpc.handlers import Who, parsed
from ion.management.verbs import Management
from ion.model.module import Module, Revision

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[bytes, bytes]

Q = TypeVar("Q", bound=Message)

PROVIDERS: Final = (PROVIDER, "azurebatch", "local")
PROGRAM: Final = "file:"
FLOW_MOST: Final = 64 * 1024 * 1024
"""Bytes of a flow in one answer."""


def original(who: Who, calls: Calls) -> "dict[str, dict[str, Handler]]":
    """The handlers of both services, by name."""

    def handler(kind: type[Q], verb: Callable[[Management, Q], Awaitable[Message]]) -> "Handler":
        async def handle(raw: bytes, context: Context) -> bytes:
            async def work(_: Call) -> bytes:
                request = parsed(raw, kind)
                return (await verb(who(context), request)).SerializeToString()

            return await calls.answer(context, work)

        return grpc.unary_unary_rpc_method_handler(handle)

    return {
        "ModuleService": {
            "Create": handler(pb.ModuleCreateRequest, create),
            "Delete": handler(pb.ModuleDeleteRequest, delete),
            "Get": handler(pb.ModuleGetRequest, get),
            "List": handler(pb.ModuleListRequest, listed),
        },
        "TraceService": {"GetFlow": handler(pb.GetFlowRequest, flow)},
    }


async def create(management: Management, request: pb.ModuleCreateRequest) -> pb.ModuleCreateResponse:
    module = module_of(request)
    applied = await management.modules.apply(modules=(module,))
    (revision,) = (change.revision for change in applied.changes if change.module == module.name)
    return pb.ModuleCreateResponse(name=deployed_name(Revision(id=revision, module=module)))


async def delete(management: Management, request: pb.ModuleDeleteRequest) -> pb.ModuleDeleteResponse:
    await management.modules.delete(name=request.name)
    return pb.ModuleDeleteResponse(name=request.name)


async def get(management: Management, request: pb.ModuleGetRequest) -> pb.ModuleGetResponse:
    state = await management.modules.get(name=request.name)
    revision = state.registered.revision
    name = deployed_name(revision) if request.name == revision.module.name else request.name
    return pb.ModuleGetResponse(name=name, status=state.standing, statusMessage=state.message)


async def listed(management: Management, _: pb.ModuleListRequest) -> pb.ModuleListResponse:
    modules = await management.modules.list()
    return pb.ModuleListResponse(names=[deployed_name(one.revision) for one in modules])


async def flow(management: Management, request: pb.GetFlowRequest) -> pb.GetFlowResponse:
    """As `ion trace flow` prints it: an array, a record a line."""
    lines: list[str] = []
    size = 0
    async for record in management.flows.records(flow=request.correlationID):
        lines.append(msgspec.json.encode(record.document()).decode())
        size += len(lines[-1])
        if size > FLOW_MOST:
            raise ConflictError(
                f"flow {request.correlationID} has more records than fit into one answer ({FLOW_MOST >> 20} MiB): "
                "read them with ion.v1.Flows/Records, or `ion trace flow`"
            )
    return pb.GetFlowResponse(flowJSON="[\n" + ",\n".join(lines) + "\n]" if lines else "[]")


# ---- a module, as the original's clients describe it --------------------------------------------------------------


def module_of(request: pb.ModuleCreateRequest) -> Module:
    """The module that a request describes. Raises InvalidError."""
    provider = request.provider.strip().lower() or PROVIDERS[0]
    if provider not in PROVIDERS:
        raise InvalidError(f"there is no provider {request.provider[:40]!r}: give one of {', '.join(PROVIDERS)}")
    for what in ("instancecount", "retrycount", "maxexecutiontimemins"):
        if (count := getattr(request, what)) < 0:
            raise InvalidError(f"{what} is {count}: give a number that is not below 0")
    return created(
        request.modulename,
        on=",".join(types_of("eventsubscriptions", request.eventsubscriptions)),
        emits=",".join(types_of("eventpublications", request.eventpublications)),
        provider=provider,
        handler_image=request.handlerimage.strip(),
        instances=request.instancecount or INSTANCES,
        retries=request.retrycount,
        minutes=request.maxexecutiontimemins or MINUTES,
        env=dict(request.configmap),
        **_what_runs(request.moduleimage.strip(), provider),
    )


def types_of(what: str, text: str) -> tuple[str, ...]:
    """The event types of a list with commas; blanks around them do not count. Raises InvalidError."""
    if not text.strip():
        return ()
    types = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    if "" in types:
        raise InvalidError(f"{what} has an empty entry in {text[:80]!r}: separate event types by single commas")
    return types


def _what_runs(image: str, provider: str) -> dict[str, Any]:
    """An image, or with the local provider a program with its arguments."""
    if not image.startswith(PROGRAM):
        return {"image": image}
    if provider != "local":
        raise InvalidError(f"the provider {provider} runs images, not programs: give moduleimage without '{PROGRAM}'")
    try:
        command = shlex.split(image.removeprefix(PROGRAM))
    except ValueError as error:
        raise InvalidError(f"the program in moduleimage {image[:80]!r} cannot be read: {error}") from error
    if not command:
        raise InvalidError("moduleimage names no program: give its path after 'file:'")
    return {"command": tuple(command)}
