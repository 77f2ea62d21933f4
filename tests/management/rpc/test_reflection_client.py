"""A client that knows no message of ours: it asks the server what there is, and makes its own stubs of the answer."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.management.rpc.stage import World

from ion.management.rpc.serve import serving

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class Reflected:
    """Stubs from reflection, in a pool of their own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._pool = DescriptorPool()
        self._known: set[str] = set()

    async def services(self) -> list[str]:
        answer = await self._ask(list_services="")
        return [one.name for one in answer.list_services_response.service]

    async def learn(self, service: str) -> None:
        answer = await self._ask(file_containing_symbol=service)
        await self._add(answer.file_descriptor_response.file_descriptor_proto)

    async def _add(self, files: Any) -> None:
        for raw in files:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            if file.name in self._known:
                continue
            self._known.add(file.name)
            for needed in file.dependency:
                answer = await self._ask(file_by_filename=needed)
                await self._add(answer.file_descriptor_response.file_descriptor_proto)
            self._pool.Add(file)

    async def _ask(self, **what: Any) -> reflection_pb2.ServerReflectionResponse:
        ask: Any = self._channel.stream_stream(
            REFLECTION,
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        async for answer in ask(iter([reflection_pb2.ServerReflectionRequest(**what)])):
            found: reflection_pb2.ServerReflectionResponse = answer
            return found
        raise AssertionError

    def call(self, service: str, method: str, **given: Any) -> Any:
        rpc = self._pool.FindServiceByName(service).FindMethodByName(method)
        request: Message = GetMessageClass(rpc.input_type)(**given)
        kind = self._channel.unary_stream if rpc.server_streaming else self._channel.unary_unary
        ask: Any = kind(
            f"/{service}/{method}", type(request).SerializeToString, GetMessageClass(rpc.output_type).FromString
        )
        return ask(request)


@pytest.fixture
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(lambda _: world.local) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


async def test_a_client_made_from_reflection_can_call_everything(world: World, channel: grpc.aio.Channel) -> None:
    """Both of the original's services and all of ours are told of, and are called with messages made from that."""
    client = Reflected(channel)
    services = await client.services()
    ours = {f"ion.v1.{name}" for name in ("Jobs", "Letters", "Flows", "Modules", "Events", "Bus", "Findings", "Server")}
    assert ours | {"ModuleService", "TraceService", "grpc.health.v1.Health"} <= set(services)
    for name in services:
        await client.learn(name)
    job = await client.call("ion.v1.Jobs", "Get", job=world.detect)
    assert (job.id, job.state, job.event.type) == (world.detect, "released", "photo")
    lines = [line.job.module async for line in client.call("ion.v1.Flows", "Tree", flow=world.flow)]
    assert lines == ["cli", "detect", "broken"] or set(lines) >= {"detect", "broken"}
    names = [name.rpartition("-")[0] for name in (await client.call("ModuleService", "List")).names]
    assert names == ["broken", "detect"]
    assert world.flow in (await client.call("TraceService", "GetFlow", correlationID=world.flow)).flowJSON
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.call("ion.v1.Jobs", "Page", most=5000)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_service_says_that_it_is_healthy(channel: grpc.aio.Channel) -> None:
    """The standard health service answers for the server and for each service of it."""
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    for service in ("", "ModuleService", "TraceService", "ion.v1.Jobs"):
        answer = await check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
