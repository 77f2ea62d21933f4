"""The part of OData that lists of Batch take: a `$filter` of terms with `and`, each with an operation of its own.

Which properties may be filtered, and how, is a table of Microsoft's; anything else is refused here as it is there.
https://learn.microsoft.com/rest/api/batchservice/odata-filters-in-batch
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

ORDER = {"eq", "ne", "ge", "gt", "le", "lt"}
JOBS = {"id": {"startswith", *ORDER}, "state": {"eq", "ne"}, "stateTransitionTime": ORDER, "creationTime": ORDER}
TASKS = {
    "id": {"startswith", *ORDER},
    "state": {"eq", "ne"},
    "stateTransitionTime": ORDER,
    "creationTime": ORDER,
    "executionInfo/exitCode": ORDER,
}
_COMPARED = re.compile(r"(?P<name>[\w/]+) (?P<how>\w\w) (?P<value>.+)")
_STARTS = re.compile(r"startswith\((?P<name>\w+), ?'(?P<value>[^']*)'\)")
_TIME = re.compile(r"datetime'(?P<value>[^']+)'", re.IGNORECASE)


class FilterError(ValueError):
    """A filter that the service does not take."""


def wanted(text: str, allowed: Mapping[str, set[str]]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a document passes a filter. Raises FilterError."""
    terms = (
        [
            _term(one.strip().removeprefix("(").removesuffix(")" if one.startswith("(") else ""), allowed)
            for one in text.split(" and ")
        ]
        if text
        else []
    )
    return lambda document: all(term(document) for term in terms)


def _term(text: str, allowed: Mapping[str, set[str]]) -> Callable[[Mapping[str, Any]], bool]:
    if found := _STARTS.fullmatch(text):
        _check(found["name"], "startswith", allowed)
        name, prefix = found["name"], found["value"]
        return lambda document: str(document.get(name, "")).startswith(prefix)
    found = _COMPARED.fullmatch(text)
    if found is None:
        raise FilterError(text)
    name, how, value = found["name"], found["how"], _value(found["value"])
    _check(name, how, allowed)
    compare = getattr(operator, how)
    return lambda document: _at(document, name) is not None and bool(compare(_as(value, _at(document, name)), value))


def _check(name: str, how: str, allowed: Mapping[str, set[str]]) -> None:
    if how not in allowed.get(name, set()):
        raise FilterError(f"{how} of {name}")


def _value(text: str) -> Any:
    if found := _TIME.fullmatch(text):
        return datetime.fromisoformat(found["value"])
    if text.startswith("'") and text.endswith("'"):
        return text[1:-1]
    if not text.isdigit():
        raise FilterError(text)
    return int(text)


def _as(value: Any, found: Any) -> Any:
    return datetime.fromisoformat(found) if isinstance(value, datetime) else found


def _at(document: Mapping[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("/"):
        found = (found or {}).get(name)
    return found
