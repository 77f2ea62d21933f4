"""Which events a subscription wants: the filter dialects of the CloudEvents Subscriptions API.

A filter is an object with one dialect: `exact`, `prefix` and `suffix` compare attributes with text (all that are
named must hold), `all`, `any` and `not` combine filters. A subscription's filters must all pass. Names are those of
the wire (`id`, `source`, `correlationid`, …); Ion adds `data.KEY`, a dotted path into the event's data, where a value
that is not text is compared by its JSON text. An attribute that the event lacks never matches, so its `not` does.

Everything that can be wrong with a filter is said when it is compiled, so a filter that compiled cannot fail on an
event.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ion.errors import InvalidError
from ion.messaging.nearest import suggestion
from ion.model.event import Event

Predicate = Callable[[Event], bool]
Reader = Callable[[Event], str | None]

DEPTH_MOST = 32
"""Filters nested deeper are refused: no person writes them, and evaluation recurses."""

DATA = "data."
ABSENT = object()

ATTRIBUTES: Mapping[str, Reader] = {
    "id": lambda event: event.id,
    "type": lambda event: event.type,
    "source": lambda event: event.source,
    "subject": lambda event: event.subject,
    "time": lambda event: msgspec.to_builtins(event.time),
    "specversion": lambda _: "1.0",
    "datacontenttype": lambda _: "application/json",
    "correlationid": lambda event: event.correlation_id,
    "parentid": lambda event: event.parent_id,
    "traceparent": lambda event: event.traceparent,
    "origid": lambda event: event.origid,
    "hops": lambda event: str(event.hops),
    "dataref": lambda event: event.dataref,
}
COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}
DIALECTS = (*COMPARISONS, "all", "any", "not")


def compile_filters(filters: Sequence[Mapping[str, Any]]) -> Predicate:
    """The question whether an event passes all of the filters; with none, every event does.

    Raises:
        InvalidError: a filter is malformed, or names a dialect or attribute that does not exist.
    """
    predicates = [_compile(each, 1) for each in filters]
    return lambda event: all(passes(event) for passes in predicates)


def _compile(expression: Any, depth: int) -> Predicate:
    if depth > DEPTH_MOST:
        raise InvalidError(f"a filter is nested deeper than {DEPTH_MOST} levels; write it flatter")
    if not isinstance(expression, Mapping):
        raise InvalidError(f"a filter must be an object such as {{exact: {{subject: a.jpg}}}}, not {_json(expression)}")
    if len(expression) != 1:
        raise InvalidError(f"a filter has exactly one dialect, not {len(expression)}; write several filters in a list")
    ((dialect, argument),) = expression.items()
    if dialect in COMPARISONS:
        return _comparison(dialect, argument)
    if dialect in ("all", "any"):
        return _combination(dialect, argument, depth)
    if dialect == "not":
        inner = _compile(argument, depth + 1)
        return lambda event: not inner(event)
    raise InvalidError(_unknown_dialect(dialect))


def _unknown_dialect(dialect: Any) -> str:
    if dialect == "sql":
        return "the filter dialect 'sql' is not supported; write it with exact, prefix, suffix, all, any and not"
    return f"unknown filter dialect '{dialect}'; {suggestion(str(dialect), DIALECTS)}"


def _comparison(dialect: str, argument: Any) -> Predicate:
    if not isinstance(argument, Mapping) or not argument:
        raise InvalidError(f"the filter '{dialect}' needs attributes and their text, such as {{subject: a.jpg}}")
    compare = COMPARISONS[dialect]
    tests = [(_reader(name), _wanted(dialect, name, text)) for name, text in argument.items()]

    def passes(event: Event) -> bool:
        return all((value := read(event)) is not None and compare(value, wanted) for read, wanted in tests)

    return passes


def _wanted(dialect: str, name: str, text: Any) -> str:
    if isinstance(text, str) and text:
        return text
    shown = "must not be empty" if text == "" else f"must be text, not {_json(text)}"
    raise InvalidError(f"the value of '{name}' in the filter '{dialect}' {shown}")


def _combination(dialect: str, argument: Any, depth: int) -> Predicate:
    if not isinstance(argument, list | tuple) or not argument:
        raise InvalidError(f"the filter '{dialect}' needs a list of at least one filter")
    inner = [_compile(each, depth + 1) for each in argument]
    combine = all if dialect == "all" else any
    return lambda event: combine(passes(event) for passes in inner)


def _reader(name: Any) -> Reader:
    if isinstance(name, str) and name.startswith(DATA) and all(name.split(".")):
        return _data_reader(name.removeprefix(DATA))
    if name not in ATTRIBUTES:
        raise InvalidError(
            f"a filter names the unknown attribute '{name}'; {suggestion(str(name), [*ATTRIBUTES, 'data.KEY'])}"
        )
    read = ATTRIBUTES[name]
    return lambda event: read(event) or None  # an empty attribute is not on the wire: the event lacks it


def _data_reader(path: str) -> Reader:
    def read(event: Event) -> str | None:
        value = _at(event.data, path)
        return None if value is ABSENT else value if isinstance(value, str) else _json(value)

    return read


def _at(data: Any, path: str) -> Any:
    """What stands at a dotted path; a key that itself holds the dots goes first."""
    while isinstance(data, dict):
        if path in data:
            return data[path]
        head, _, path = path.partition(".")
        if not path:
            return ABSENT
        data = data.get(head, ABSENT)
    return ABSENT


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
