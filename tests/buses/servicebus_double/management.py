"""Requests to a node's `$management`: peek, renew a lock, settle by lock token."""

import time
import uuid
from typing import Any

from proton import Message, int32, symbol, timestamp
from tests.buses.servicebus_double.broker import Broker
from tests.buses.servicebus_double.queues import Queue

_OK, _NO_CONTENT, _GONE, _UNKNOWN = 200, 204, 410, 501


def answer(broker: Broker, entity: str, request: Any) -> Message:
    operation = str((request.properties or {}).get("operation", "")).removeprefix("com.microsoft:")
    handle = {"peek-message": _peek, "renew-lock": _renew, "update-disposition": _settle}.get(operation)
    if handle is None or entity not in broker.queues:
        return _response(_UNKNOWN, "com.microsoft:not-implemented")
    return handle(broker, broker.queues[entity], request.body)


def _peek(_: Broker, queue: Queue, body: dict[str, Any]) -> Message:
    from tests.buses.servicebus_double.amqp import stamped

    first, most = int(body["from-sequence-number"]), int(body["message-count"])
    found = [queue.entries[seq] for seq in sorted(queue.entries) if seq >= first][:most]
    if not found:
        return _response(_NO_CONTENT)
    return _response(_OK, body={"messages": [{"message": stamped(entry)} for entry in found]})


def _renew(_: Broker, queue: Queue, body: dict[str, Any]) -> Message:
    now, tokens = time.time(), _tokens(body)
    if not all(queue.holds(token, now) for token in tokens):
        return _response(_GONE, "com.microsoft:message-lock-lost")
    moments = [timestamp(int(queue.renew(token, now) * 1000)) for token in tokens]
    return _response(_OK, body={"expirations": moments})


def _settle(broker: Broker, queue: Queue, body: dict[str, Any]) -> Message:
    now, tokens = time.time(), _tokens(body)
    if not all(queue.holds(token, now) for token in tokens):
        return _response(_GONE, "com.microsoft:message-lock-lost")
    for token in tokens:
        if body["disposition-status"] == "completed":
            broker.complete(queue, token)
        elif body["disposition-status"] == "abandoned":
            queue.give_back(token, counts=True)
        else:
            queue.reject(token, str(body.get("deadletter-reason", "")))
    broker.note_moves(queue)
    broker.on_news()
    return _response(_OK)


def _tokens(body: dict[str, Any]) -> list[uuid.UUID]:
    return [token if isinstance(token, uuid.UUID) else uuid.UUID(str(token)) for token in body["lock-tokens"].elements]


def _response(status: int, condition: str = "", body: Any = None) -> Message:
    properties: dict[Any, Any] = {"statusCode": int32(status), "statusDescription": condition or "OK"}
    if condition:
        properties["errorCondition"] = symbol(condition)
    return Message(properties=properties, body=body)
