"""The .proto files: what is generated from them is committed, they have every verb, and every thing has its comment."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from ion.management.rpc import ion_v1_pb2, original_pb2
from ion.management.rpc.methods import UPLOAD, groups, methods

SOURCES = Path(__file__).parents[3] / "src"
HERE = SOURCES / "ion/management/rpc"
PROTOS = ("original.proto", "ion_v1.proto")
ORIGINAL = {
    "ModuleCreateRequest": [
        (1, "modulename", "string"),
        (2, "eventsubscriptions", "string"),
        (3, "eventpublications", "string"),
        (4, "moduleimage", "string"),
        (5, "handlerimage", "string"),
        (6, "instancecount", "int32"),
        (7, "retrycount", "int32"),
        (8, "provider", "string"),
        (9, "maxexecutiontimemins", "int32"),
        (10, "configmap", "map<string, string>"),
    ],
    "ModuleCreateResponse": [(1, "name", "string")],
    "ModuleDeleteRequest": [(1, "name", "string")],
    "ModuleDeleteResponse": [(1, "name", "string")],
    "ModuleGetRequest": [(1, "name", "string")],
    "ModuleGetResponse": [(1, "name", "string"), (2, "status", "string"), (3, "statusMessage", "string")],
    "ModuleListRequest": [],
    "ModuleListResponse": [(1, "names", "repeated string")],
    "GetFlowRequest": [(1, "correlationID", "string")],
    "GetFlowResponse": [(1, "flowJSON", "string")],
}


def protoc(*options: str) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", *options], check=True)


def test_the_generated_code_is_that_of_the_protos(tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    files = [f"ion/management/rpc/{name}" for name in PROTOS]
    protoc(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *files)
    for made in (tmp_path / "ion/management/rpc").iterdir():
        assert made.read_text() == (HERE / made.name).read_text(), f"{made.name} is stale: run `make proto`"


def test_the_originals_messages_are_as_they_were() -> None:
    """Names, numbers and types of the original's fields; and no service or message beside them."""
    found = {}
    text = re.sub(r"//.*", "", (HERE / "original.proto").read_text())
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", text, flags=re.DOTALL):
        fields = re.findall(r"([\w<>, ]+?) (\w+) = (\d+);", body)
        found[name] = [(int(number), field, kind.strip()) for kind, field, number in fields]
    assert found == ORIGINAL
    assert not original_pb2.DESCRIPTOR.package
    services = {
        name: [one.name for one in service.methods]
        for name, service in original_pb2.DESCRIPTOR.services_by_name.items()
    }
    assert services == {"ModuleService": ["Create", "Delete", "Get", "List"], "TraceService": ["GetFlow"]}


def test_every_verb_has_its_rpc_and_every_argument_its_field() -> None:
    """No verb is without its call, no call without its verb, and they ask for the same things."""
    services = ion_v1_pb2.DESCRIPTOR.services_by_name
    assert {name.capitalize() for name in groups()} == set(services)
    offered = {f"/ion.v1.{service}/{one.name}" for service, each in services.items() for one in each.methods}
    assert {method.path for method in methods()} == offered
    for method in methods():
        rpc = services[method.group.capitalize()].methods_by_name[method.verb.capitalize()]
        assert rpc.server_streaming == method.streams
        assert rpc.client_streaming == (method.key == UPLOAD)
        if method.arguments is not None:
            declared = inspect.signature(getattr(groups()[method.group], method.verb)).parameters
            assert [field.name for field in rpc.input_type.fields] == [name for name in declared if name != "self"]
            assert method.arguments.message.DESCRIPTOR is rpc.input_type
        assert method.answer.message.DESCRIPTOR is rpc.output_type


@pytest.mark.parametrize("name", PROTOS)
def test_everything_in_a_proto_has_a_comment(name: str, tmp_path: Path) -> None:
    """The API's reference is made from the comments: of services, calls, messages and fields."""
    out = tmp_path / "set.pb"
    protoc("--include_source_info", f"--descriptor_set_out={out}", f"ion/management/rpc/{name}")
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    said = {tuple(one.path) for one in file.source_code_info.location if one.leading_comments.strip()}
    for at, message in enumerate(file.message_type):
        assert (4, at) in said, message.name
        for number, field in enumerate(message.field):
            assert (4, at, 2, number) in said, f"{message.name}.{field.name}"
    for at, service in enumerate(file.service):
        assert (6, at) in said, service.name
        for number, rpc in enumerate(service.method):
            assert (6, at, 2, number) in said, f"{service.name}.{rpc.name}"
