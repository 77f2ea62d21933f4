"""The original's clients: their messages, made by hand byte by byte, and what they get."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from tests.management.rpc.stage import World

from ion.cli.output import array
from ion.errors import InvalidError
from ion.management.rpc.original import module_of, types_of
from ion.management.rpc.original_pb2 import ModuleCreateRequest
from ion.management.rpc.serve import serving
from ion.management.verbs import Management
from ion.model.module import Module, Retries, Subscription


def field(number: int, value: str | int | bytes) -> bytes:
    """A field on the wire: a text (or bytes) with its length, or a number."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2]) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def texts(raw: bytes) -> list[tuple[int, str]]:
    """The text fields of an answer; all are short or their length takes two bytes."""
    found = []
    while raw:
        number, size, at = raw[0] >> 3, raw[1], 2
        if size > 0x7F:
            size, at = (size & 0x7F) | raw[2] << 7, 3
        found.append((number, raw[at : at + size].decode()))
        raw = raw[at + size :]
    return found


@pytest.fixture
async def channel(local: Management, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        serving(lambda _: local, spool=tmp_path / "spool") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made,
    ):
        yield made


async def ask(channel: grpc.aio.Channel, path: str, request: bytes) -> list[tuple[int, str]]:
    call: Any = channel.unary_unary(path)
    return texts(await call(request))


async def test_a_module_lives_its_life_by_the_originals_calls(channel: grpc.aio.Channel, local: Management) -> None:
    """Create gives the deployed name; Get and List know it; Delete takes it, and the module is gone."""
    request = b"".join(
        [
            field(1, "tag"),
            field(2, "face, photo"),
            field(3, "tagged"),
            field(4, "file:/bin/true --quick 'a b'"),
            field(5, "handler:1"),
            field(6, 3),
            field(7, 2),
            field(8, "Local"),
            field(9, 10),
            field(10, field(1, "A") + field(2, "1")),
            field(10, field(1, "B") + field(2, "2")),
        ]
    )
    ((number, name),) = await ask(channel, "/ModuleService/Create", request)
    state = await local.modules.get(name="tag")
    assert (number, name) == (1, f"tag-{state.registered.revision.id[:8]}")
    assert state.registered.module == Module(
        name="tag",
        on=(Subscription(type="face"), Subscription(type="photo")),
        emits=("tagged",),
        command=("/bin/true", "--quick", "a b"),
        env={"A": "1", "B": "2"},
        retries=Retries(module=2, timeout=2),
        concurrency=3,
        timeout_s=600.0,
        provider="local",
    )
    assert await ask(channel, "/ModuleService/Create", request) == [(1, name)]
    listed = await ask(channel, "/ModuleService/List", b"")
    assert (1, name) in listed
    assert len(listed) == 3
    got = await ask(channel, "/ModuleService/Get", field(1, "tag"))
    assert got == await ask(channel, "/ModuleService/Get", field(1, name))
    assert got[:2] == [(1, name), (2, state.standing)]
    assert await ask(channel, "/ModuleService/Delete", field(1, name)) == [(1, name)]
    assert len(await ask(channel, "/ModuleService/List", b"")) == 2


async def test_a_flow_comes_as_the_command_prints_it(world: World, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """GetFlow gives the JSON array that `ion trace flow` prints, to the last byte but the line's end."""
    async with serving(lambda _: world.local) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/TraceService/GetFlow")
        raw = await call(field(1, world.flow[:13]))

    async def documents() -> AsyncIterator[dict[str, Any]]:
        async for record in world.local.flows.records(flow=world.flow):
            yield record.document()

    await array(documents())
    printed = capsysbinary.readouterr().out.rstrip(b"\n")
    assert raw == field(1, printed)
    assert {one["context"]["documentType"] for one in msgspec.json.decode(printed)} == {
        "eventMeta",
        "insight",
        "modulelogs",
    }


@pytest.mark.parametrize(
    ("path", "request_", "code", "said"),
    [
        ("Get", field(1, "detekt"), grpc.StatusCode.NOT_FOUND, "detekt"),
        ("Create", field(1, "a") + field(8, "fargate"), grpc.StatusCode.INVALID_ARGUMENT, "no provider 'fargate'"),
        ("Create", field(1, "a") + field(2, "x,,y"), grpc.StatusCode.INVALID_ARGUMENT, "empty entry in 'x,,y'"),
        ("Create", b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT, "the request is no ModuleCreateRequest"),
        ("Create", b"\x30" + b"\xff" * 9 + b"\x01", grpc.StatusCode.INVALID_ARGUMENT, "instancecount is -1"),
    ],
)
async def test_a_refusal_has_its_code_and_a_sentence(
    channel: grpc.aio.Channel, path: str, request_: bytes, code: grpc.StatusCode, said: str
) -> None:
    """What is wrong is told in the details; the code says of what kind it is."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ask(channel, f"/ModuleService/{path}", request_)
    assert refusal.value.code() is code
    assert said in str(refusal.value.details())


def test_what_is_left_out_is_as_it_was_in_the_original() -> None:
    """Kubernetes, one instance, five minutes; and no retry where the client says none."""
    module = module_of(ModuleCreateRequest(modulename="a", moduleimage="image:1"))
    assert (module.provider, module.concurrency, module.timeout_s, module.retries.module) == ("kubernetes", 1, 300.0, 0)
    assert (module.image, module.command, module.on, module.emits) == ("image:1", (), (), ())


def test_a_program_is_for_the_local_provider() -> None:
    """A cluster cannot run a file of this host; a program that cannot be read is refused as well."""
    with pytest.raises(InvalidError, match="azurebatch runs images, not programs"):
        module_of(ModuleCreateRequest(modulename="a", moduleimage="file:/bin/true", provider="AzureBatch"))
    for image in ("file:", "file:'unclosed"):
        with pytest.raises(InvalidError, match="moduleimage"):
            module_of(ModuleCreateRequest(modulename="a", moduleimage=image, provider="local"))


def test_event_types_are_told_apart_by_commas() -> None:
    """Blanks do not count, a repeated type counts once, nothing is nothing."""
    assert types_of("x", " a , b,a") == ("a", "b")
    assert types_of("x", "  ") == ()


async def test_calls_of_both_kinds_go_over_one_channel(channel: grpc.aio.Channel) -> None:
    """The original's service and ours stand beside each other."""
    ours: Any = channel.unary_unary("/ion.v1.Modules/List")
    theirs: Any = channel.unary_unary("/ModuleService/List")
    assert all(await asyncio.gather(ours(b""), theirs(b"")))
