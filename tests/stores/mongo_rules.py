"""What Azure Cosmos DB for MongoDB refuses, noted at the client: the server of the tests takes more than it does."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from bson import encode
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from ion.adapters.mongo.schema import SHARD_KEYS

DOCUMENT_MOST = 2 * 1024 * 1024


class CosmosRules(CommandListener):
    """Notes every command that Azure Cosmos DB would refuse; the real server behind it takes more."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.commands: set[str] = set()

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.add(event.command_name)
        self.refused += [f"{event.command_name}: {fault}" for fault in _faults(event.command_name, event.command)]

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


_OPERATORS = frozenset({"$where", "$function", "$accumulator", "$expr", "$text", "$merge", "$out", "$graphLookup"})


def _faults(name: str, command: Mapping[str, Any]) -> Iterator[str]:
    if "startTransaction" in command or command.get("autocommit") is False or name == "commitTransaction":
        yield "a transaction"
    if name == "aggregate" and any("$changeStream" in stage for stage in command["pipeline"]):
        yield "a change stream"
    for operator in _OPERATORS & set(_keys(command)):
        yield f"the operator {operator}"
    if name in ("insert", "update", "delete", "findAndModify"):
        yield from _write_faults(name, command, SHARD_KEYS[command[name]])
    if name == "createIndexes":
        for index in command["indexes"]:
            if "partialFilterExpression" in index and not index.get("unique"):
                yield f"a partial index that is not unique: {index['name']}"


def _write_faults(name: str, command: Mapping[str, Any], key: str) -> Iterator[str]:
    for document in command.get("documents", ()):
        if key not in document:
            yield f"an insert without {key}"
        yield from _size_faults(document)
    if name == "findAndModify":
        if len(command.get("sort", {})) > 1:
            yield "a sort by two fields"
        yield from _key_faults(command["query"], key)
    for write in (*command.get("updates", ()), *command.get("deletes", ())):
        yield from _key_faults(write["q"], key)
        yield from _change_faults(write, key)


def _key_faults(guard: Mapping[str, Any], key: str) -> Iterator[str]:
    if not isinstance(guard.get(key), str):
        yield f"a change without {key}: {sorted(guard)}"


def _change_faults(write: Mapping[str, Any], key: str) -> Iterator[str]:
    if write.get("multi"):
        yield "a change of several documents"
    change = write.get("u", {})
    if not isinstance(change, Mapping):
        yield "an update by a pipeline"
    elif key in change.get("$set", {}):
        yield f"a change of {key}"
    else:
        yield from _size_faults(change)


def _size_faults(document: Mapping[str, Any]) -> Iterator[str]:
    if len(encode(document)) >= DOCUMENT_MOST:
        yield "a document of 2 MB or more"


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _keys(inner)


@pytest.fixture
def cosmos_rules() -> Iterator[CosmosRules]:
    """What Azure Cosmos DB would have refused fails the test."""
    rules = CosmosRules()
    yield rules
    assert rules.refused == []
