"""A pipeline: its modules and settings, typed and complete, as everything after the file sees them.

`PIPELINE` is the table of the file's top level. `include` and `profiles` are in it for the schema; they are used up
before the rest is decoded.
"""

from pathlib import Path
from typing import Any

import msgspec

from ion.config.kinds import Choice, Kind, Located, Schema, Text
from ion.config.module_table import DEFAULTS, MODULE, NAME_PATTERN, NAME_WANTS
from ion.config.nodes import Node, fault
from ion.config.settings import SETTINGS, Settings
from ion.config.tables import Field, Many, Named, Section
from ion.model.module import Module


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline file with its includes and profile.

    `path` is the file as it was named; `folder` the absolute folder that holds it. `profile` is the one that was
    chosen, empty for none.
    """

    name: str = ""
    path: Path
    folder: Path
    profile: str = ""
    modules: tuple[Module, ...] = ()
    settings: Settings = Settings()


class _Consumed(Kind[None], frozen=True, kw_only=True):
    """Keys that are used up before decoding."""

    described: Kind[Any]

    def decode(self, node: Node, where: str) -> None:
        raise fault(node.place, f"'{where}' cannot stand here; write it at the top of the pipeline file")

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return self.described.schema(definitions)


VERSION = Choice(words=("1",), missing="this Ion reads version 1")

_SHARED = {
    "name": Field(
        kind=Text(pattern=f"(?:{NAME_PATTERN})?", wants=NAME_WANTS), doc="Prefixes the names of deployments and groups."
    ),
    "defaults": Field(kind=DEFAULTS, doc="What every module has unless it says otherwise."),
    "modules": Field(kind=Named(value=MODULE, pattern=NAME_PATTERN, wants=NAME_WANTS), doc="The modules by name."),
    **SETTINGS,
}

PROFILE = Section(
    name="profile", doc="A JSON merge patch over the file; null removes.", build=dict[str, Any], fields=_SHARED
)

PIPELINE = Section(
    name="pipeline",
    doc="A pipeline of Ion.",
    build=dict[str, Any],
    struct=Settings,
    required=("ion",),
    fields={
        "ion": Field(kind=VERSION, doc="The version of this format: 1."),
        "include": Field(
            kind=_Consumed(described=Many(item=Located(), single=True)),
            doc="Files that this one lies over, relative to it: a later one wins over an earlier, this one over all.",
        ),
        "profiles": Field(
            kind=_Consumed(described=Named(value=PROFILE, wants="a name")), doc="Variants: --profile, ION_PROFILE."
        ),
        **_SHARED,
    },
)
