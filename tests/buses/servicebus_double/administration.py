"""The administration API, as far as the vendor's client needs it: entities in Atom XML over HTTP/1.1."""

import asyncio
from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

from tests.buses.servicebus_double.access import policy_of
from tests.buses.servicebus_double.broker import Broker
from tests.buses.servicebus_double.queues import Topic

_ATOM = "http://www.w3.org/2005/Atom"
_COUNTS = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
_BUS = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_REASONS = {200: "OK", 201: "Created", 401: "Unauthorized", 404: "Not Found", 409: "Conflict"}

Answer = tuple[int, bytes]


class Administration:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            method, target, headers, body = await _request(reader)
            status, content = self._answered(method, target, headers, body)
            head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/atom+xml\r\n"
            writer.write(f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answered(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        if self._broker.refuses or policy_of(headers.get("authorization", "")) != "root":
            return 401, _error(401, "MalformedToken: The token has no Manage claim.")
        split = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        match [unquote(part) for part in split.path.strip("/").split("/")]:
            case ["$Resources", "topics"]:
                return 200, _page(query, [_topic(topic) for topic in self._broker.topics.values()])
            case [topic, kind] if kind.lower() == "subscriptions" and topic.lower() in self._broker.topics:
                owner = self._broker.topics[topic.lower()]
                return 200, _page(query, [_subscription(owner, name) for name in owner.subscriptions])
            case [topic]:
                return self._topic(method, topic, body)
            case [topic, _, subscription]:
                return self._subscription(method, topic, subscription, body)
        return 404, _error(404, "there is no such resource")

    def _topic(self, method: str, name: str, body: bytes) -> Answer:
        known = self._broker.topics.get(name.lower())
        if method == "PUT":
            if known is not None:
                return 409, _error(409, f"the topic {name} exists")
            self._broker.make_topic(name, _description(body))
            return 201, _topic(self._broker.topics[name.lower()])
        return (200, _topic(known)) if known is not None else (200, _feed([]))

    def _subscription(self, method: str, topic: str, name: str, body: bytes) -> Answer:
        owner = self._broker.topics.get(topic.lower())
        if owner is None:
            return 404, _error(404, f"the topic {topic} does not exist")
        known = name.lower() in owner.subscriptions
        if method == "PUT":
            if known:
                return 409, _error(409, f"the subscription {name} exists")
            self._broker.make_subscription(topic, name, _description(body))
            return 201, _subscription(owner, name.lower())
        return (200, _subscription(owner, name.lower())) if known else (404, _error(404, f"no subscription {name}"))


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return method, target, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _description(body: bytes) -> bytes:
    content = ET.fromstring(body).find(f"{{{_ATOM}}}content")
    assert content is not None
    return ET.tostring(content[0])


def _topic(topic: Topic) -> bytes:
    return _entry(topic.name, topic.description)


def _subscription(topic: Topic, name: str) -> bytes:
    queue = topic.subscriptions[name]
    dead = len(queue.dead_letters.entries) if queue.dead_letters is not None else 0
    tree = ET.fromstring(topic.descriptions[name])
    ET.SubElement(tree, f"{{{_BUS}}}MessageCount").text = str(len(queue.entries) + dead)
    details = ET.SubElement(tree, f"{{{_BUS}}}CountDetails")
    for kind, count in (("Active", len(queue.entries)), ("DeadLetter", dead), ("Scheduled", 0)):
        ET.SubElement(details, f"{{{_COUNTS}}}{kind}MessageCount").text = str(count)
    return _entry(name, ET.tostring(tree))


def _entry(title: str, description: bytes) -> bytes:
    head = f'<entry xmlns="{_ATOM}"><title type="text">{title}</title><content type="application/xml">'
    return head.encode() + description + b"</content></entry>"


def _page(query: dict[str, str], entries: list[bytes]) -> bytes:
    skip, top = int(query.get("$skip", 0)), int(query.get("$top", 100))
    more = skip + top < len(entries)
    links = ["self"] + ([f"next?$skip={skip + top}&amp;$top={top}"] if more else [])
    return _feed(entries[skip : skip + top], links)


def _feed(entries: Iterable[bytes], links: Iterable[str] = ()) -> bytes:
    marks = "".join(f'<link rel="{link.split("?")[0]}" href="https://double/{link}"/>' for link in links)
    return f'<feed xmlns="{_ATOM}">{marks}'.encode() + b"".join(entries) + b"</feed>"


def _error(code: int, detail: str) -> bytes:
    return f"<Error><Code>{code}</Code><Detail>{detail}</Detail></Error>".encode()
