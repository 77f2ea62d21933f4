"""The reference of the management API, from its .proto files and the table of roles.

protoc writes a descriptor of the files with their comments; what stands before the mark on the page is by hand.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from commands import table
from google.protobuf.descriptor_pb2 import DescriptorProto as Message
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto as File
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pb2 import MethodDescriptorProto as Method

from ion.management.access.needs import Reach, need

SOURCES = Path(__file__).parents[2] / "src"
PROTOS = ("ion/management/rpc/ion_v1.proto", "ion/management/rpc/original.proto")
MARK = "<!-- From here on written by `make docs`. -->"
ORIGINALS = {
    "ModuleService.Create": "modules.apply",
    "ModuleService.Delete": "modules.delete",
    "ModuleService.Get": "modules.get",
    "ModuleService.List": "modules.list",
    "TraceService.GetFlow": "flows.records",
}
REACHES = {
    Reach.NAMED: "of its own",
    Reach.ROWS: "a list of its own",
    Reach.FREE: "yes",
    Reach.WHOLE: "no",
}
MESSAGES, FIELDS, SERVICES, METHODS = 4, 2, 6, 2
"""Numbers by which a descriptor's comments are found."""


def page(present: str) -> str:
    v1, original = (Source(file) for file in _files())
    parts = [present.partition(MARK)[0].rstrip() + f"\n\n{MARK}", "## Calls and roles", *_roles(v1, original)]
    parts += ["## Ion's services", *v1.services(), "## The original's services", *original.services()]
    parts += ["## Messages", *v1.messages()]
    return "\n\n".join(parts) + "\n"


def _files() -> list[File]:
    with tempfile.NamedTemporaryFile() as made:
        options = (f"-I{SOURCES}", "--include_source_info", f"--descriptor_set_out={made.name}", *PROTOS)
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options], check=True)
        found = FileDescriptorSet.FromString(Path(made.name).read_bytes())
    return sorted(found.file, key=lambda file: PROTOS.index(file.name))


class Source:
    """One .proto file."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._said = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
        self._by_name = {message.name: (index, message) for index, message in enumerate(file.message_type)}

    def calls(self) -> Iterator[tuple[str, Method, str]]:
        """Each call: its name with its service's, what it is, its comment."""
        for at, service in enumerate(self.file.service):
            for index, method in enumerate(service.method):
                yield f"{service.name}.{method.name}", method, self.said(SERVICES, at, METHODS, index)

    def services(self) -> Iterator[str]:
        for at, service in enumerate(self.file.service):
            full = ".".join(filter(None, (self.file.package, service.name)))
            yield f"### `{full}`"
            yield self.said(SERVICES, at)
            for name, method, comment in self.calls():
                if name.startswith(f"{service.name}."):
                    yield from self._call(name, method, comment)

    def _call(self, name: str, method: Method, comment: str) -> Iterator[str]:
        yield f"#### `{name}`"
        yield comment
        asked, told = _last(method.input_type), _last(method.output_type)
        streams = ("stream " * method.client_streaming, "stream " * method.server_streaming)
        yield f"```proto\nrpc {method.name}({streams[0]}{asked}) returns ({streams[1]}{told})\n```"
        yield from self._fields(asked)
        if told == f"{asked.removesuffix('Request')}Response":
            yield f"Answers, `{told}`:"
            yield from self._fields(told)

    def asked(self, method: Method) -> list[str]:
        """The fields of its request."""
        return [field.name for field in self._by_name[_last(method.input_type)][1].field]

    def messages(self) -> Iterator[str]:
        """Those that are of more than one call."""
        own = {_last(method.input_type) for _, method, _ in self.calls()}
        own |= {f"{name.removesuffix('Request')}Response" for name in own}
        for name, (index, _) in self._by_name.items():
            if name not in own:
                yield f"### `{name}`"
                yield self.said(MESSAGES, index)
                yield from self._fields(name)

    def _fields(self, name: str) -> Iterator[str]:
        index, message = self._by_name[name]
        if message.field:
            yield table(("field", "number", "type", "what"), list(self._rows(index, message)))
        else:
            yield f"`{name}` has no fields."

    def _rows(self, index: int, message: Message) -> Iterator[tuple[str, ...]]:
        maps = {kind.name: kind.field for kind in message.nested_type if kind.options.map_entry}
        for at, field in enumerate(message.field):
            comment = " ".join(self.said(MESSAGES, index, FIELDS, at).split())
            if field.HasField("oneof_index") and not field.proto3_optional:
                comment += f" (one of `{message.oneof_decl[field.oneof_index].name}`)"
            yield f"`{field.name}`", str(field.number), _type(field, maps), comment

    def said(self, *path: int) -> str:
        return re.sub(r"(?m)^ ", "", self._said.get(path, ""))


def _type(field: Field, maps: "dict[str, object]") -> str:
    last = _last(field.type_name)
    if last in maps:
        key, value = maps[last]  # type: ignore[misc]
        return f"map of {_type(key, {})} to {_type(value, {})}"
    word = Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        word = f"[{last}](#{last.lower()})" if field.type_name.startswith(".ion.") else last
    before = "optional " if field.proto3_optional else "repeated " if field.label == Field.LABEL_REPEATED else ""
    return before + word


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _roles(*sources: Source) -> Iterator[str]:
    """Every call with what its verb asks for; what changes with an argument stands beside it."""
    rows = []
    for source in sources:
        for name, method, _ in source.calls():
            verb = ORIGINALS.get(name) or re.sub(r"(?<!^)(?<![.])([A-Z])", r"_\1", name).lower()
            needed = need(verb, {})
            others = {field: need(verb, {field: True}) for field in source.asked(method)}
            role = needed.role.value + "".join(
                f"; with `{field}` {other.role.value}"
                for field, other in others.items()
                if other.role is not needed.role
            )
            takes = "".join(f"with `{field}`" for field, other in others.items() if other.changes > needed.changes)
            link = f"[`{name}`](#{name.replace('.', '').lower()})"
            rows.append((link, role, REACHES[needed.reach], "yes" if needed.changes else takes))
    yield table(("call", "role", "with a role for some pipelines", "in the trail"), rows)
