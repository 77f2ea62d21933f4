"""The schema for editors: it and the decoder come from one table, so they must agree."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ion.config.kinds import plain_value
from ion.config.module_table import FIELDS
from ion.config.pipeline import Pipeline
from ion.config.schema import json_schema
from ion.config.source import read_document

SCHEMA = json_schema()
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}
KNOWN_WORDS = {
    *("$ref", "$schema", "title", "definitions", "description", "default", "anyOf", "type", "enum", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "minLength", "properties", "required", "additionalProperties"),
    *("propertyNames", "items", "minItems", "minProperties", "maxProperties"),
}


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """The part of JSON Schema that the schema uses; a word that is not known here fails."""
    assert not schema.keys() - KNOWN_WORDS, schema.keys()
    if "$ref" in schema:
        return valid(value, SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")])
    if "anyOf" in schema and not any(valid(value, each) for each in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"] and str(value) not in schema["enum"]:
        return False
    types = schema.get("type", list(TYPES))
    if not any(TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        return False
    return _valid_text(value, schema) and _valid_number(value, schema) and _valid_parts(value, schema)


def _valid_text(value: Any, schema: dict[str, Any]) -> bool:
    if not isinstance(value, str):
        return True
    return bool(re.search(schema.get("pattern", ""), value)) and len(value) >= schema.get("minLength", 0)


def _valid_number(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    least, above = schema.get("minimum", value), schema.get("exclusiveMinimum", value - 1)
    return bool(least <= value <= schema.get("maximum", value) and value > above)


def _valid_parts(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(valid(v, schema.get("items", {})) for v in value)
    if not isinstance(value, dict):
        return True
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return False
    if set(schema.get("required", ())) - value.keys():
        return False
    names, properties = schema.get("propertyNames", {}), schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    return all(
        valid(name, names)
        and (
            valid(each, properties[name]) if name in properties else rest is True or (bool(rest) and valid(each, rest))
        )
        for name, each in value.items()
    )


GOOD = [
    "ion: 1\nmodules: {a: {command: x}}\n",
    "ion: 1\nname: ''\nmodules: {a: {image: i, on: photo, emits: {type: b}, retries: 3, timeout: 90}}\n",
    "ion: 1\nmodules: {a: {command: [x, 1], on: [p, {type: q, filters: [{not: {exact: {id: 5}}}]}]}}\n",
    "ion: 1\nmodules: {a: {command: x, timeout: , env: {A: 1, B: }, retries: {memory: 2}}}\n",
    "ion: 1\nbus: memory\nledger: {kind: sqlite}\nmachine: {gpus: [a]}\nmodules: {a: {command: x}}\n",
    "ion: 1\nfront: {port: '${PORT:-1}', max_body: 1Gi}\nmodules: {a: {command: x}}\n",
    "ion: 1\nmodules: {a: {command: x, grace: 2h30m, resources: {cpu: 500m, memory: 1G}}}\n",
    "ion: 1\nretention: {intermediates: 7d, results: never, logs: 3600, ids: }\nmodules: {a: {command: x}}\n",
    "ion: 1\nmounts: {m: /m}\nmodules: {a: {command: x}}\nprofiles: {p: {modules: {a: null}, name: null}, q: }\n",
]
BAD = [
    "modules: {a: {command: x}}\n",
    "ion: 2\nmodules: {a: {command: x}}\n",
    "ion: 1\nmodules: {A: {command: x}}\n",
    "ion: 1\nmodules: {a: {comand: x}}\n",
    "ion: 1\nmodules: {a: {command: x, timeout: soon}}\n",
    "ion: 1\nmodules: {a: {command: x, network: 'yes'}}\n",
    "ion: 1\nmodules: {a: {command: x, retries: {modul: 1}}}\n",
    "ion: 1\nmodules: {a: {command: x, on: [{type: q, filters: [{exakt: {id: x}}]}]}}\n",
    "ion: 1\nmodules: {a: {command: x, resources: {memory: 4GB}}}\n",
    "ion: 1\nmodules: {a: {command: x, mounts: [{source: x}]}}\n",
    "ion: 1\nmodules: {a: {command: x, provider: here}}\n",
    "ion: 1\nmodules: {a: {command: x, concurrency: 0}}\n",
    "ion: 1\nledger: oracle\nmodules: {a: {command: x}}\n",
    "ion: 1\nretention: {results: always}\nmodules: {a: {command: x}}\n",
    "ion: 1\nfront: {port: 70000}\nmodules: {a: {command: x}}\n",
]


def as_an_editor_sees_it(text: str, folder: Path) -> Any:
    path = folder / "seen.yaml"
    path.write_text(text)
    return plain_value(read_document(path))


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_is_valid(load: Callable[..., Pipeline], tmp_path: Path, text: str) -> None:
    """Short forms, variables, empty values and profiles pass the schema as they pass the loader."""
    assert load(text).modules
    assert valid(as_an_editor_sees_it(text, tmp_path), SCHEMA)


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_is_not_valid(refusal: Callable[..., str], tmp_path: Path, text: str) -> None:
    """An editor marks what the loader would refuse."""
    assert refusal(text)
    assert not valid(as_an_editor_sees_it(text, tmp_path), SCHEMA)


def test_every_key_is_described() -> None:
    """An editor can say of every key what it is for."""
    for name, definition in SCHEMA["definitions"].items():
        assert definition["description"], name
        if name != "filter":
            assert all(prop["description"] for prop in definition["properties"].values()), name


def test_the_schema_has_the_modules_keys_and_their_defaults() -> None:
    """Keys come from the table, defaults from the type that the file becomes."""
    properties = SCHEMA["definitions"]["module"]["properties"]
    assert properties.keys() == FIELDS.keys()
    assert (properties["concurrency"]["default"], properties["timeout"]["default"]) == (4, 3600.0)


def test_every_reference_leads_somewhere_and_the_schema_is_json() -> None:
    """The schema can be written to a file and read by any editor."""
    text = json.dumps(SCHEMA)
    references = set(re.findall(r'"#/definitions/([a-z_]+)"', text))
    assert references <= SCHEMA["definitions"].keys()
    assert json.loads(text) == SCHEMA
