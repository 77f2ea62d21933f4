"""Reading a module's JSON, whatever it holds."""

import json
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ion.errors import ContractError
from ion.handler.event_files import parse_event, parse_insights
from ion.handler.paths import clash_of, fault_in, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
FIELDS = st.sampled_from(["type", "files", "inputs", "subject", "data", "eventType", "key", "value", "other"])
NEAR = st.dictionaries(FIELDS, JSON | st.lists(st.text()))
"""Objects that are nearly an event or a key/value."""


def written(document: Any) -> bytes:
    """As JSON, with what msgspec would not write: numbers of any size, lone surrogates as escapes."""
    return json.dumps(document).encode()


@given(st.binary() | (JSON | NEAR | st.lists(NEAR)).map(written))
def test_an_event_file_is_read_or_refused(content: bytes) -> None:
    """Whatever an event file holds, reading it gives an event that can be written again, or a ContractError."""
    with suppress(ContractError):
        raised = parse_event("e.json", content)
        assert raised.type
        assert isinstance(msgspec.json.encode(raised), bytes)


@given(st.binary() | (JSON | NEAR | st.lists(NEAR)).map(written))
def test_insights_are_read_or_refused(content: bytes) -> None:
    """Whatever the insights hold, reading them gives values that can be written again, or a ContractError."""
    with suppress(ContractError):
        assert isinstance(msgspec.json.encode(parse_insights("insights.json", content)), bytes)


@given(st.dictionaries(st.text(), JSON))
def test_both_forms_say_the_same(values: dict[str, Any]) -> None:
    """Key/values mean the same as a list and as an object's data."""
    data = {key: value for key, value in values.items() if key not in ("eventType", "files", "subject")}
    pairs = [{"key": key, "value": value} for key, value in data.items()]
    with suppress(ContractError):  # numbers that no reader of JSON takes
        listed = parse_event("e.json", written([{"key": "eventType", "value": "t"}, *pairs]))
        assert listed == parse_event("e.json", written({"type": "t", "data": data}))


@given(st.text(), st.lists(st.text()))
def test_paths_are_judged_without_failing(path: str, paths: list[str]) -> None:
    """Any text is a good path or has a fault, and can be shown in a message of one line."""
    assert isinstance(fault_in(path), str)
    assert shown(path).isprintable()
    assert isinstance(clash_of(paths), str)
