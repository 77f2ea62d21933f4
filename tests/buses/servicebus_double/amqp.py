"""One AMQP connection: links to topics, from subscriptions, and to the nodes that take requests.

The protocol engine of Proton does no input and output of its own; it is fed here and emptied here.
"""

import asyncio
import time
import uuid
from typing import Any
from urllib.parse import urlparse

from proton import (
    Collector,
    Condition,
    Connection,
    Delivery,
    Link,
    Message,
    Sender,
    Terminus,
    Transport,
    symbol,
    timestamp,
)
from tests.buses.servicebus_double.access import policy_of
from tests.buses.servicebus_double.broker import Broker
from tests.buses.servicebus_double.management import answer
from tests.buses.servicebus_double.queues import Entry, Queue
from tests.buses.servicebus_double.raw import split

LARGEST = 256 * 1024


class AmqpConnection:
    def __init__(self, broker: Broker, writer: asyncio.StreamWriter) -> None:
        self._broker = broker
        self._writer = writer
        self._collector = Collector()
        self._connection = Connection()
        self._connection.collect(self._collector)
        self._transport = Transport(Transport.SERVER)
        self._transport.sasl().allowed_mechs("ANONYMOUS")
        self._transport.bind(self._connection)
        self._known = False
        self._consumers: dict[str, tuple[Sender, Queue]] = {}
        self._answers: dict[str, Sender] = {}
        self._held: dict[tuple[str, bytes], uuid.UUID] = {}

    def take(self, data: bytes) -> None:
        """What the client sent."""
        while data and (room := self._transport.capacity()) > 0:
            self._transport.push(data[:room])
            data = data[room:]
            self._work()
        self.pump()

    def pump(self) -> None:
        """Sends what consumers have credit for."""
        now = time.time()
        for link, queue in self._consumers.values():
            while link.credit > 0 and (entry := queue.take(now)) is not None:
                self._deliver(link, entry)
            if link.drain_mode and link.credit > 0:
                link.drained()
        self._flush()

    def end(self) -> None:
        """The locks of what it held stay until they expire, as the real one's do."""
        self._consumers.clear()
        self._transport.unbind()

    def _flush(self) -> None:
        while (pending := self._transport.pending()) > 0:
            self._writer.write(self._transport.peek(pending) or b"")
            self._transport.pop(pending)
        if self._transport.closed or self._transport.pending() < 0:
            self._writer.close()

    def _work(self) -> None:
        while (event := self._collector.peek()) is not None:
            handle = getattr(self, f"_on_{event.type.name.removeprefix('PN_').lower()}", None)
            if handle is not None:
                handle(event)
            self._collector.pop()

    # ---- connections, sessions and links ---------------------------------------------------------------------------

    def _on_connection_remote_open(self, event: Any) -> None:
        event.connection.container = "double"
        event.connection.open()

    def _on_connection_remote_close(self, event: Any) -> None:
        event.connection.close()

    def _on_session_remote_open(self, event: Any) -> None:
        event.session.incoming_capacity = 64 * 1024 * 1024
        event.session.open()

    def _on_session_remote_close(self, event: Any) -> None:
        event.session.close()

    def _on_link_remote_open(self, event: Any) -> None:
        link = event.link
        address = _address(link.remote_source.address if link.is_sender else link.remote_target.address)
        fault = self._fault(link, address)
        if fault is None:
            link.source.copy(link.remote_source)
            link.target.copy(link.remote_target)
        link.max_message_size = LARGEST
        link.snd_settle_mode, link.rcv_settle_mode = link.remote_snd_settle_mode, link.remote_rcv_settle_mode
        link.open()
        if fault is not None:
            link.source.type = link.target.type = Terminus.UNSPECIFIED
            link.condition = fault
            link.close()
        elif link.is_receiver:
            link.flow(500)
        elif address in self._broker.queues:
            self._consumers[link.name] = (link, self._broker.queues[address])
        else:
            self._answers[address] = link

    def _fault(self, link: Link, address: str) -> Condition | None:
        if address == "$cbs":
            return None
        if not self._known:
            return Condition("amqp:unauthorized-access", "Unauthorized access. 'Send,Listen' claim(s) are required.")
        entity = address.removesuffix("/$management")
        if entity in self._broker.queues or (entity in self._broker.topics and (link.is_receiver or entity != address)):
            return None
        return Condition("amqp:not-found", f"The messaging entity '{entity}' could not be found.")

    def _on_link_remote_close(self, event: Any) -> None:
        self._consumers.pop(event.link.name, None)
        event.link.close()

    def _on_link_remote_detach(self, event: Any) -> None:
        self._on_link_remote_close(event)

    # ---- messages --------------------------------------------------------------------------------------------------

    def _deliver(self, link: Sender, entry: Entry) -> None:
        assert entry.token is not None
        tag = entry.token.bytes_le
        link.delivery(tag)  # type: ignore[arg-type]
        self._held[link.name, tag] = entry.token
        link.stream(stamped(entry))
        link.advance()

    def _on_delivery(self, event: Any) -> None:
        delivery = event.delivery
        if event.link.is_sender:
            if delivery.updated:
                self._settled(event.link, delivery)
        elif delivery.readable and not delivery.partial:
            raw = event.link.recv(delivery.pending)
            event.link.advance()
            self._received(event.link, delivery, raw)
            event.link.flow(1)

    def _received(self, link: Link, delivery: Delivery, raw: bytes) -> None:
        address = _address(link.remote_target.address)
        if address == "$cbs":
            self._authenticate(message_of(raw))
        elif address.endswith("/$management"):
            request = message_of(raw)
            self._reply(address, answer(self._broker, address.removesuffix("/$management"), request), request)
        elif fault := self._refusal(raw):
            delivery.local.condition = fault
            delivery.update(Delivery.REJECTED)
            delivery.settle()
            return
        else:
            self._broker.publish(self._broker.topics[address], split(raw))
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()

    def _refusal(self, raw: bytes) -> Condition | None:
        if self._broker.busy:
            self._broker.busy -= 1
            return _condition("com.microsoft:server-busy", "The request was terminated because the namespace is busy.")
        if len(raw) > LARGEST:
            return _condition("amqp:link:message-size-exceeded", "The message is larger than 262144 bytes.")
        return None

    def _settled(self, link: Link, delivery: Delivery) -> None:
        """Answers as the real one does: with the same outcome, or rejected with an error if the lock was lost."""
        token = self._held.pop((link.name, _tag(delivery)), None)
        queue = self._consumers[link.name][1] if link.name in self._consumers else None
        outcome = delivery.remote_state
        if token is None or queue is None or not queue.holds(token, time.time()):
            delivery.local.condition = _condition("com.microsoft:message-lock-lost", "The lock supplied is invalid.")
            outcome = Delivery.REJECTED
        elif outcome == Delivery.ACCEPTED:
            self._broker.complete(queue, token)
        elif outcome == Delivery.REJECTED:
            queue.reject(token, "client")
        else:
            queue.give_back(token, counts=outcome == Delivery.MODIFIED and delivery.remote.failed)
        if queue is not None:
            self._broker.note_moves(queue)
        delivery.update(outcome)
        delivery.settle()
        self._broker.on_news()

    # ---- requests --------------------------------------------------------------------------------------------------

    def _authenticate(self, request: Any) -> None:
        known = not self._broker.refuses and bool(policy_of(str(request.body)))
        self._known = self._known or known
        status = 202 if known else 401
        text = "Accepted" if known else "InvalidSignature: The token has an invalid signature."
        self._reply("$cbs", Message(properties={"status-code": status, "status-description": text}), request)

    def _reply(self, address: str, response: Message, request: Message) -> None:
        link = self._answers[address]
        response.correlation_id = request.id
        link.delivery(uuid.uuid4().bytes)  # type: ignore[arg-type]
        link.stream(response.encode())
        link.advance()


def message_of(raw: bytes) -> Any:
    message = Message()
    message.decode(raw)
    return message


def stamped(entry: Entry) -> bytes:
    """The message as a consumer sees it."""
    message = message_of(entry.raw)
    message.delivery_count = entry.count
    annotations: dict[Any, Any] = dict(message.annotations or {})
    annotations[symbol("x-opt-sequence-number")] = entry.seq
    annotations[symbol("x-opt-enqueued-time")] = _timestamp(entry.enqueued)
    if entry.token is not None:
        annotations[symbol("x-opt-locked-until")] = _timestamp(entry.locked_until)
    message.annotations = annotations
    if entry.reason:
        message.properties = {**(message.properties or {}), "DeadLetterReason": entry.reason}
    encoded: bytes = message.encode()
    return encoded


def _condition(name: str, description: str) -> Condition:
    """With information, without which the vendor's client cannot read it."""
    return Condition(name, description, {symbol("tracking-id"): str(uuid.uuid4())})


def _timestamp(moment: float) -> timestamp:
    return timestamp(int(moment * 1000))


def _tag(delivery: Delivery) -> bytes:
    from cproton import ffi, lib  # type: ignore[import-untyped]

    tag = lib.pn_delivery_tag(delivery._impl)
    return bytes(ffi.buffer(tag.start, tag.size))


def _address(address: str | None) -> str:
    text = address or ""
    return (urlparse(text).path.lstrip("/") if "://" in text else text).lower()
