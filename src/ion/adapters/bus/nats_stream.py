"""Ion's stream and consumers on a NATS server: made, made again, counted and read.

JetStream's own JSON is spoken here: it is the documented interface of the server, and small.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ion.adapters.bus.nats_line import Answer, Line, MissingError, Request
from ion.adapters.bus.nats_names import consumer_of, consumers_of, subject_of
from ion.adapters.bus.nats_settings import NatsSettings
from ion.errors import UnsupportedError

API = "$JS.API"
UNACKNOWLEDGED_MOST = 50_000
"""Deliveries of one topic that a group may hold or have released for later; beyond them it is given no more."""

_NO_STREAM = 10059
_NO_MESSAGE = 10037
_FIXED = ("retention", "storage", "discard", "subjects")


class Made(msgspec.Struct, frozen=True):
    """Which stream it is, and how old in seconds: one that was made again has another `created`."""

    created: str
    age_s: float


class Waiting(msgspec.Struct, frozen=True):
    """What a consumer has still to do: `ahead` was never delivered, `held` is unacknowledged; `next` is where it reads
    on.
    """

    subject: str
    ahead: int
    held: int
    next: int


class Stream:
    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self.name = settings.stream

    async def make(self, line: Line) -> Made:
        """The stream as the settings say; one that is there stays.

        Raises:
            UnsupportedError: another stream is in the way, or the server cannot keep this one.
        """
        wanted = self._configuration()
        (answer,) = await line.ask([Request(f"{API}.STREAM.INFO.{self.name}")])
        if _error_number(answer) == _NO_STREAM:
            (answer,) = await line.ask([Request(f"{API}.STREAM.CREATE.{self.name}", _json(wanted))])
            return _made(answer.document())
        document = answer.document()
        found = document["config"]
        self._check(found, wanted)
        if any(found.get(key, 0) != value for key, value in wanted.items()):
            (answer,) = await line.ask([Request(f"{API}.STREAM.UPDATE.{self.name}", _json({**found, **wanted}))])
            answer.document()
        return _made(document)

    async def subscribe(self, line: Line, pairs: Collection[tuple[str, str]]) -> None:
        """A consumer for each topic and group; one that is there goes on where it is."""
        for answer in await line.ask([self._consumer(topic, group) for topic, group in sorted(pairs)]):
            answer.document()

    async def waiting(self, line: Line, group: str) -> Sequence[Waiting]:
        """For each of the group's consumers."""
        beginning = consumers_of(group)
        names = [name for name in await self._names(line) if name.startswith(beginning)]
        answers = await line.ask([Request(f"{API}.CONSUMER.INFO.{self.name}.{name}") for name in names])
        return [_waiting(answer.document()) for answer in answers]

    async def read(self, line: Line, waiting: Waiting, most: int) -> Sequence[tuple[int, bytes]]:
        """Up to `most` messages that were not delivered yet, with their numbers in the stream."""
        found: list[tuple[int, bytes]] = []
        number = waiting.next
        while len(found) < min(most, waiting.ahead):
            wanted = _json({"seq": number, "next_by_subj": waiting.subject})
            (answer,) = await line.ask([Request(f"{API}.STREAM.MSG.GET.{self.name}", wanted)])
            if _error_number(answer) == _NO_MESSAGE:
                break
            message = answer.document()["message"]
            found.append((message["seq"], msgspec.json.decode(f'"{message.get("data", "")}"', type=bytes)))
            number = message["seq"] + 1
        return found

    def _check(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for key in _FIXED:
            if found.get(key) != wanted[key]:
                raise UnsupportedError(
                    f"NATS has a stream {self.name} whose {key} is {found.get(key)}, and Ion needs {wanted[key]}: name "
                    "another by `bus.stream`, or remove that one"
                )

    def _configuration(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "name": self.name,
            "description": "Events of Ion, each kept until every group has acknowledged it",
            "subjects": [f"{settings.prefix}.>"],
            "retention": "interest",
            "storage": "file",
            "discard": "new",
            "num_replicas": settings.replicas,
            "max_age": _nanoseconds(settings.max_age_s or 0.0),
            "max_bytes": settings.max_bytes or -1,
            "max_msgs": -1,
            "max_consumers": -1,
            "duplicate_window": _nanoseconds(settings.dedupe_window_s),
        }

    def _consumer(self, topic: str, group: str) -> Request:
        name, subject = consumer_of(group, topic), subject_of(self._settings.prefix, topic)
        configuration = {
            "durable_name": name,
            "name": name,
            "description": f"{group}: {topic}"[:1000],
            "filter_subject": subject,
            "deliver_policy": "new",
            "ack_policy": "explicit",
            "ack_wait": _nanoseconds(self._settings.ack_wait_s),
            "max_deliver": -1,
            "max_ack_pending": UNACKNOWLEDGED_MOST,
            "replay_policy": "instant",
        }
        wanted = _json({"stream_name": self.name, "config": configuration, "action": ""})
        return Request(f"{API}.CONSUMER.CREATE.{self.name}.{name}.{subject}", wanted)

    async def _names(self, line: Line) -> list[str]:
        names: list[str] = []
        while True:
            wanted = _json({"offset": len(names)})
            (answer,) = await line.ask([Request(f"{API}.CONSUMER.NAMES.{self.name}", wanted)])
            page = answer.document()
            names += page.get("consumers") or []
            if len(names) >= page["total"] or not page.get("consumers"):
                return names


def _made(document: Mapping[str, Any]) -> Made:
    """The age is by the server's clock; one before 2.10 does not tell the time."""
    created = document["created"]
    born, now = (msgspec.convert(text, datetime) for text in (created, document.get("ts", created)))
    return Made(created=created, age_s=max(0.0, (now - born).total_seconds()))


def _waiting(document: Mapping[str, Any]) -> Waiting:
    return Waiting(
        subject=document["config"].get("filter_subject", ">"),
        ahead=document["num_pending"],
        held=document["num_ack_pending"],
        next=document["delivered"]["stream_seq"] + 1,
    )


def _error_number(answer: Answer) -> int:
    """JetStream's number for what went wrong; 0 where nothing did."""
    if answer.status:
        raise MissingError("JetStream does not answer: it is starting, or not enabled on that server (`-js`)")
    return int(msgspec.json.decode(answer.payload).get("error", {}).get("err_code", 0))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


_json = msgspec.json.encode
