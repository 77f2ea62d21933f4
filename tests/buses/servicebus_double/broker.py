"""What the double keeps: topics by name, and the journal that it is read back from."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
from proton import Message
from tests.buses.servicebus_double.queues import DEAD_LETTERS, Entry, Queue, Topic

_SPAN = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")
_UNITS_S = (86400.0, 3600.0, 60.0, 1.0)


class Broker:
    def __init__(self, journal: Path) -> None:
        self.topics: dict[str, Topic] = {}
        self.queues: dict[str, Queue] = {}
        self.busy = 0
        self.refuses = False
        self.on_news: Callable[[], None] = lambda: None
        self._seq = 0
        self._file = journal.open("ab+")
        self._replay()

    # ---- entities -------------------------------------------------------------------------------------------------

    def make_topic(self, name: str, description: bytes) -> None:
        self._make_topic(name, description)
        self._write("topic", name, description)

    def make_subscription(self, topic: str, name: str, description: bytes) -> None:
        self._make_subscription(topic, name, description)
        self._write("subscription", topic, name, description)

    def _make_topic(self, name: str, description: bytes) -> None:
        tree = ET.fromstring(description)
        detects = _text(tree, "RequiresDuplicateDetection", "false") == "true"
        window_s = _span_s(_text(tree, "DuplicateDetectionHistoryTimeWindow", "PT10M")) if detects else 0.0
        age_s = _span_s(_text(tree, "DefaultMessageTimeToLive", "P10000D"))
        self.topics[name.lower()] = Topic(name=name, description=description, window_s=window_s, age_s=age_s)

    def _make_subscription(self, topic: str, name: str, description: bytes) -> None:
        tree = ET.fromstring(description)
        path = f"{topic}/subscriptions/{name}".lower()
        lock_s = _span_s(_text(tree, "LockDuration", "PT1M"))
        dead = Queue(path=path + DEAD_LETTERS, lock_s=lock_s, most_deliveries=0)
        most = int(_text(tree, "MaxDeliveryCount", "10"))
        queue = Queue(path=path, lock_s=lock_s, most_deliveries=most, dead_letters=dead)
        owner = self.topics[topic.lower()]
        owner.subscriptions[name.lower()] = queue
        owner.descriptions[name.lower()] = description
        owner.ages_s[name.lower()] = _span_s(_text(tree, "DefaultMessageTimeToLive", "P10000D"))
        self.queues |= {path: queue, dead.path: dead}

    # ---- messages -------------------------------------------------------------------------------------------------

    def publish(self, topic: Topic, messages: list[bytes]) -> None:
        now = time.time()
        for raw in messages:
            self._enqueue(topic, raw, now)
            self._write("put", topic.name, raw, now, flush=False)
        self._file.flush()
        self.on_news()

    def _enqueue(self, topic: Topic, raw: bytes, now: float) -> None:
        message = Message()
        message.decode(raw)
        self._seq += 1
        if topic.repeats(str(message.id or ""), now):
            return
        for name, queue in topic.subscriptions.items():
            age_s = min(topic.age_s, topic.ages_s[name], message.ttl or topic.age_s)
            queue.put(Entry(seq=self._seq, raw=raw, enqueued=now, expires=now + age_s))

    def complete(self, queue: Queue, token: Any) -> None:
        self._write("done", queue.path, queue.complete(token).seq)

    def note_moves(self, queue: Queue) -> None:
        """Writes down what went to the dead letters."""
        for entry, reason in queue.moved:
            self._write("bury", queue.path, entry.seq, reason)
        queue.moved.clear()

    def tick(self) -> None:
        now = time.time()
        for queue in self.queues.values():
            queue.expire(now)
            self.note_moves(queue)
        self.on_news()

    # ---- journal --------------------------------------------------------------------------------------------------

    def _write(self, *line: Any, flush: bool = True) -> None:
        raw = msgspec.msgpack.encode(line)
        self._file.write(len(raw).to_bytes(4, "big") + raw)
        if flush:
            self._file.flush()

    def _replay(self) -> None:
        self._file.seek(0)
        whole = 0
        while len(head := self._file.read(4)) == 4 and len(raw := self._file.read(int.from_bytes(head, "big"))) == (
            int.from_bytes(head, "big")
        ):
            whole = self._file.tell()
            self._redo(*msgspec.msgpack.decode(raw))
        self._file.truncate(whole)  # a line that was torn by the kill was not confirmed

    def _redo(self, what: str, name: str, *rest: Any) -> None:
        if what == "topic":
            self._make_topic(name, *rest)
        elif what == "subscription":
            self._make_subscription(name, *rest)
        elif what == "put":
            self._enqueue(self.topics[name.lower()], *rest)
        else:
            queue = self.queues[name]
            entry = queue.entries.pop(rest[0])
            if what == "bury" and queue.dead_letters is not None:
                entry.reason, entry.expires = rest[1], 0.0
                queue.dead_letters.put(entry)


def _text(tree: ET.Element, name: str, default: str) -> str:
    found = next((element.text for element in tree.iter() if element.tag.endswith("}" + name)), None)
    return found or default


def _span_s(text: str) -> float:
    match = _SPAN.fullmatch(text)
    assert match is not None, f"{text!r} is no ISO 8601 duration"
    return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS_S, strict=True) if part)
