"""Names on RabbitMQ, and what the settings refuse: without a broker."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.adapters.bus.rabbitmq_link import Outage, translated
from ion.adapters.bus.rabbitmq_names import queue_name, routing_key
from ion.adapters.bus.rabbitmq_publisher import BATCH_BYTES, Outgoing, batches
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.rabbitmq_topology import DELAY_MOST_S, bucket_for
from ion.errors import InvalidError, UnavailableError
from ion.messaging.codec import valid_type

TEXT = st.text(min_size=1, max_size=255) | st.text(alphabet="*#.%~ a2é\ud800", min_size=1, max_size=300)


def key_or_refusal(topic: str) -> str | None:
    try:
        return routing_key(topic)
    except InvalidError:
        return None


@given(TEXT, TEXT)
def test_every_type_has_a_routing_key_of_its_own(one: str, two: str) -> None:
    """Below 255 bytes, without a word that means something to a topic exchange; what no event can have is refused."""
    keys = [key_or_refusal(topic) for topic in (one, two)]
    for topic, key in zip((one, two), keys, strict=True):
        assert (key is not None) == valid_type(topic)
        if key is not None:
            assert len(key.encode()) <= 255
            assert not {"*", "#", " "} & set(key)
    assert None in keys or (keys[0] == keys[1]) == (one == two)


@given(TEXT, TEXT)
def test_every_group_has_a_queue_of_its_own(one: str, two: str) -> None:
    """Also where a prefix and a name are long; what is no text is refused."""
    names = []
    for group in (one, two):
        try:
            names.append(queue_name("p" * 40, group))
        except InvalidError:
            assert any("\ud800" <= letter <= "\udfff" for letter in group)
    assert all(len(name.encode()) <= 255 and name.startswith("p" * 40 + ".") for name in names)
    assert len(names) < 2 or (names[0] == names[1]) == (one == two)


def test_usual_names_stay_readable() -> None:
    """So that people find them in the broker's own tools; long ones keep their beginning."""
    assert routing_key("com.example.photo_taken/v1") == "com.example.photo_taken/v1"
    assert routing_key("a.*.#") == "a.%2A.%23"
    assert queue_name("ion", "media_detect") == "ion.media_detect"
    assert queue_name("ion", "ä b") == "ion.+C3+A4+20b"
    assert routing_key("é" * 255).startswith("%C3%A9%C3%A9")
    with pytest.raises(InvalidError, match="name"):
        queue_name("ion", "")


@given(st.floats(min_value=0.001, max_value=DELAY_MOST_S))
def test_a_delaying_queue_is_long_enough_and_not_twice_as_long(after_s: float) -> None:
    """Below a second there is one for all."""
    assert after_s <= bucket_for(after_s) < max(2 * after_s, 2)


def test_a_delay_that_the_broker_cannot_count_is_refused() -> None:
    """Rather than cut short."""
    for after_s in (DELAY_MOST_S + 1, float("inf"), float("nan")):
        with pytest.raises(InvalidError, match="most"):
            bucket_for(after_s)


@given(st.lists(st.sampled_from([1, 1000, BATCH_BYTES // 2, BATCH_BYTES, BATCH_BYTES + 1]), max_size=20))
def test_batches_are_bounded_and_in_order(sizes: list[int]) -> None:
    """By number and by bytes; a message that is larger than a batch goes alone."""
    body = bytes(BATCH_BYTES + 1)
    messages = [Outgoing(exchange="", key="", id=str(n), body=body[:size]) for n, size in enumerate(sizes)]
    found = list(batches(messages, 4))
    assert [one.id for batch in found for one in batch] == [one.id for one in messages]
    assert all(1 <= len(batch) <= 4 for batch in found)
    assert all(len(batch) == 1 or sum(len(one.body) for one in batch) <= BATCH_BYTES for batch in found)


def test_an_address_gives_settings() -> None:
    """With everything that a URL may hold, decoded."""
    settings = RabbitSettings.from_url("amqps://io%6E:p%2Fw@mq.acme:5999/ho%2Fst", prefetch=7)
    assert settings == RabbitSettings(
        host="mq.acme", port=5999, user="ion", password="p/w", vhost="ho/st", tls=True, prefetch=7
    )
    assert RabbitSettings.from_url("amqp://mq").vhost == "/"
    assert RabbitSettings.from_url("amqp://mq/%2F") == RabbitSettings.from_url("amqp://mq")


def test_the_password_is_not_shown() -> None:
    """Neither in `repr` nor in what the bus says of its broker."""
    settings = RabbitSettings(password="hunter2", tls=True)
    assert "hunter2" not in f"{settings!r} {settings} {settings.address}"
    assert settings.address == "amqps://127.0.0.1:5671/"


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "a.b"},
        {"prefix": "amq"},
        {"prefetch": 0},
        {"timeout_s": 0},
        {"queue_limit": -1},
        {"tls_ca": "ca.pem"},
        {"tls": True, "tls_key": "key.pem"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    """When they are made, in a sentence."""
    with pytest.raises(InvalidError):
        RabbitSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["http://mq", "mq", "amqp://mq:port", "amqp://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """And never repeated in the message, for it may hold a password."""
    with pytest.raises(InvalidError, match="amqp://"):
        RabbitSettings.from_url(url)


async def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    """The client cancels what waits for a dead connection; a real cancellation stays one."""

    async def work(*, of_the_client: bool) -> None:
        with translated(RabbitSettings(), "testing"):
            if of_the_client:
                raise asyncio.CancelledError
            await asyncio.Event().wait()

    with pytest.raises(UnavailableError, match="went away"):
        await work(of_the_client=True)
    task = asyncio.create_task(work(of_the_client=False))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whichever line notices, and however often; it is over when all of them work."""
    outage = Outage(RabbitSettings())
    with caplog.at_level(logging.WARNING):
        outage.works("publishing")
        for _ in range(3):
            outage.failed("publishing", "gone")
            outage.failed("receiving", "gone")
        outage.works("publishing")
        assert len(caplog.records) == 1
        outage.works("receiving")
        outage.works("receiving")
    assert [record.getMessage().split(" at ")[0] for record in caplog.records] == ["RabbitMQ", "RabbitMQ"]
    assert len(caplog.records) == 2
