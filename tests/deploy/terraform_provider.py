"""Stand-ins for Terraform's providers: they know the documented arguments, and make nothing.

Terraform itself checks a configuration against a provider's schema, resolves every reference and computes every
expression. It only needs somebody who has the schema and says what became of a resource. That is done here: the schemas
are those of `terraform_schemas.yaml`, and what a resource would be told by the cloud is made up from its arguments.
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import msgspec
import yaml

HERE = Path(__file__).parent
SCHEMAS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "terraform_schemas.yaml").read_text())
UNKNOWN = msgspec.msgpack.Ext(0, b"\x00")
_ATTRIBUTE = re.compile(r"(?P<type>[^!~*=]+)(?P<how>[!~]?)(?P<sensitive>\*?)(?:=(?P<made>.*))?", re.DOTALL)
_SINGLE, _LIST = 1, 2


def _type(text: str) -> Any:
    """`[string]` and `{string}` are a list and a map; `<a:string,b:string>` is an object; fields may be left out."""
    inner = text[1:-1]
    if text.startswith("{"):
        return ["map", _type(inner)]
    if text.startswith("["):
        return ["list", _type(inner)]
    if text.startswith("<"):
        fields = dict(field.split(":") for field in inner.split(","))
        return ["object", fields, sorted(fields)]
    return text


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """`made`: how its value is made up from the others if nobody says it; None where that leaves it empty."""

    type: Any
    required: bool
    optional: bool
    sensitive: bool
    made: str | None

    @classmethod
    def read(cls, text: str) -> "Attribute":
        found = _ATTRIBUTE.fullmatch(text)
        assert found is not None, text
        how = found["how"]
        made = found["made"] if found["made"] is not None or how else ""
        return cls(
            type=_type(found["type"]),
            required=how == "!",
            optional=how == "~",
            sensitive=bool(found["sensitive"]),
            made=made,
        )

    def value(self, name: str, others: Mapping[str, Any]) -> Any:
        text = (self.made or name).format_map({**others, "self": name})
        return json.loads(text) if self.type != "string" else text


def attributes(block: Mapping[str, Any]) -> dict[str, Attribute]:
    return {name: Attribute.read(said) for name, said in block.items() if isinstance(said, str)}


def _block(made: ModuleType, block: Mapping[str, Any]) -> Any:
    said = attributes(block)
    return made.Block(
        attributes=[
            made.Attribute(
                name=name,
                type=json.dumps(one.type).encode(),
                required=one.required,
                optional=one.optional,
                computed=one.made is not None,
                sensitive=one.sensitive,
            )
            for name, one in said.items()
        ],
        block_types=[
            made.NestedBlock(
                type_name=name.rstrip("!"), block=_block(made, one), nesting=_LIST, min_items=int(name.endswith("!"))
            )
            for name, one in block.items()
            if not isinstance(one, str)
        ],
    )


def _messages(folder: Path) -> ModuleType:
    """The protocol's messages, compiled anew: no generated code is kept."""
    name = "terraform_provider_pb2"
    words = ("grpc_tools.protoc", f"-I{HERE}", f"--python_out={folder}", "terraform_provider.proto")
    subprocess.run((sys.executable, "-m", *words), check=True)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Provider:
    """One provider's verbs."""

    def __init__(self, name: str, made: ModuleType) -> None:
        self._made, self._said = made, SCHEMAS[name]

    def schemas(self, _: Any) -> Any:
        def schema(block: Mapping[str, Any]) -> Any:
            return self._made.Schema(block=_block(self._made, block))

        return self._made.Schemas(
            provider=schema(self._said["provider"]),
            resource_schemas={name: schema(one) for name, one in self._said["resources"].items()},
            data_source_schemas={name: schema(one) for name, one in self._said.get("data", {}).items()},
        )

    def nothing(self, _: Any) -> Any:
        return self._made.Empty()

    def read(self, asked: Any) -> Any:
        return self._made.Answer(state=asked.value)

    def upgrade(self, asked: Any) -> Any:
        return self._made.Answer(state=self._made.DynamicValue(json=asked.raw_state.json))

    def plan(self, asked: Any) -> Any:
        """What is not said, and the cloud would say, is not known yet."""
        state, prior = _decoded(asked.state), _decoded(asked.prior_state)
        if state is not None and prior is None:
            said = attributes(self._said["resources"][asked.type_name])
            state |= {name: UNKNOWN for name, one in said.items() if one.made is not None and state[name] is None}
        return self._answer(state)

    def apply(self, asked: Any) -> Any:
        return self._answer(self._whole(_decoded(asked.state), self._said["resources"][asked.type_name]))

    def data(self, asked: Any) -> Any:
        return self._answer(self._whole(_decoded(asked.value), self._said["data"][asked.type_name]))

    def _whole(self, state: dict[str, Any] | None, block: Mapping[str, Any]) -> Any:
        if state is None:
            return None
        for name, one in attributes(block).items():
            if one.made is not None and (state[name] is None or isinstance(state[name], msgspec.msgpack.Ext)):
                state[name] = one.value(name, state)
        return state

    def _answer(self, state: Any) -> Any:
        return self._made.Answer(state=self._made.DynamicValue(msgpack=msgspec.msgpack.encode(state)))


def _decoded(value: Any) -> Any:
    return msgspec.msgpack.decode(value.msgpack)


def _handlers(provider: Provider, made: ModuleType) -> grpc.GenericRpcHandler:
    verbs = {
        "GetProviderSchema": (provider.schemas, made.Empty),
        "ValidateProviderConfig": (provider.nothing, made.Empty),
        "ValidateResourceConfig": (provider.nothing, made.Empty),
        "ValidateDataResourceConfig": (provider.nothing, made.Empty),
        "ConfigureProvider": (provider.nothing, made.Empty),
        "StopProvider": (provider.nothing, made.Empty),
        "UpgradeResourceState": (provider.upgrade, made.Upgrade),
        "ReadResource": (provider.read, made.Typed),
        "PlanResourceChange": (provider.plan, made.Change),
        "ApplyResourceChange": (provider.apply, made.Change),
        "ReadDataSource": (provider.data, made.Typed),
    }

    def handler(verb: Any, asked: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: verb(request),
            request_deserializer=asked.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    return grpc.method_handlers_generic_handler(
        "tfplugin6.Provider", {name: handler(verb, asked) for name, (verb, asked) in verbs.items()}
    )


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """All of them, on this machine; what `TF_REATTACH_PROVIDERS` has to say, so that Terraform finds them."""
    made, servers, found = _messages(folder), [], {}
    for name in SCHEMAS:
        server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
        server.add_generic_rpc_handlers((_handlers(Provider(name, made), made),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        found[f"registry.terraform.io/hashicorp/{name}"] = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": 1,
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    try:
        yield json.dumps(found)
    finally:
        for server in servers:
            server.stop(None).wait()
