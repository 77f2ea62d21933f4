"""Which jobs an event starts: a pure question, answered alike by the relay and by every receiver."""

from typing import Any

import msgspec
import pytest

from ion.dispatcher.admit import jobs_for
from ion.errors import InvalidError
from ion.model.event import Event
from ion.model.ids import job_id
from ion.model.job import Hold, Job, State
from ion.model.module import Subscription
from ion.ports.ledger import Subscriber
from ion.testing.conformance.bus_harness import made

HOPS = 32
ONLY_JPG = {"suffix": {"subject": ".jpg"}}
ONLY_CATS = {"exact": {"data.kind": "cat"}}


def subscriber(module: str, *filters: dict[str, Any]) -> Subscriber:
    return Subscriber(module=module, subscription=Subscription(type="photo", filters=filters))


def started(event: Event, *subscribers: Subscriber) -> list[str]:
    """The modules that the event starts, in order."""
    return [job.module for job in jobs_for(event, subscribers, max_hops=HOPS)]


def test_an_event_starts_one_waiting_job_for_each_module_that_wants_it() -> None:
    """In the order of the subscribers; the job carries the event and has its derived id."""
    event = made("photo")
    jobs = jobs_for(event, [subscriber("detect"), subscriber("count")], max_hops=HOPS)
    assert jobs == [
        Job(id=job_id(event.id, module), module=module, event=event, state=State.WAITING)
        for module in ("detect", "count")
    ]


def test_nobody_wants_it_and_nothing_starts() -> None:
    """An event without subscribers is no error."""
    assert jobs_for(made("photo"), [], max_hops=HOPS) == []


def test_the_same_event_always_gives_the_same_jobs() -> None:
    """Whoever asks: a second delivery gives ids that the ledger knows. Another event gives others."""
    event = made("photo")
    first, again = (jobs_for(event, [subscriber("detect")], max_hops=HOPS) for _ in range(2))
    assert first == again
    (other,) = jobs_for(made("photo"), [subscriber("detect")], max_hops=HOPS)
    assert other.id != first[0].id


def test_a_module_gets_one_job_though_several_of_its_subscriptions_want_the_event() -> None:
    """One passes everything, the others a part: it is one module's work all the same."""
    event = made("photo", subject="cat.jpg", data={"kind": "cat"})
    assert started(event, subscriber("detect", ONLY_JPG), subscriber("count"), subscriber("detect", ONLY_CATS)) == [
        "detect",
        "count",
    ]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ([ONLY_JPG], True),
        ([ONLY_CATS], True),
        ([ONLY_JPG, ONLY_CATS], True),
        ([ONLY_JPG, {"exact": {"data.kind": "dog"}}], False),
        ([{"not": ONLY_CATS}], False),
        ([{"any": [{"prefix": {"subject": "dog"}}, ONLY_CATS]}], True),
    ],
)
def test_all_filters_of_a_subscription_must_pass(filters: list[dict[str, Any]], wanted: bool) -> None:
    """Without one that fails the event starts a job, with one it starts none."""
    event = made("photo", subject="cat.jpg", data={"kind": "cat"})
    assert started(event, subscriber("detect", *filters)) == (["detect"] if wanted else [])


def test_one_subscription_that_passes_is_enough() -> None:
    """A module's subscriptions are alternatives; the filters of one are conditions."""
    event = made("photo", subject="cat.jpg")
    assert started(event, subscriber("detect", {"not": ONLY_JPG}), subscriber("detect", ONLY_JPG)) == ["detect"]


def test_equal_filters_of_other_events_are_judged_by_the_event() -> None:
    """Compiled filters are kept, their answers are not."""
    wants_jpg = subscriber("detect", ONLY_JPG)
    assert [started(made("photo", subject=name), wants_jpg) for name in ("a.jpg", "a.png", "b.jpg")] == [
        ["detect"],
        [],
        ["detect"],
    ]


def test_filters_see_data_that_lies_in_a_blob() -> None:
    """They are shown the event with its data; the job carries it as it is, so that its row stays small."""
    event = made("photo", dataref="root/1/x/events/root.data.json")
    seen = msgspec.structs.replace(event, data={"kind": "cat"}, dataref="")
    (job,) = jobs_for(event, [subscriber("detect", ONLY_CATS)], max_hops=HOPS, seen=seen)
    assert job.event == event
    assert started(event, subscriber("detect", ONLY_CATS)) == []


def test_a_filter_that_means_nothing_is_refused_with_its_fault() -> None:
    """It must not be taken for one that passes, nor for one that fails."""
    with pytest.raises(InvalidError, match="contains"):
        jobs_for(made("photo"), [subscriber("detect", {"contains": {"subject": "x"}})], max_hops=HOPS)


@pytest.mark.parametrize(
    ("hops", "hold"), [(0, None), (HOPS - 1, None), (HOPS, Hold.HOPS), (HOPS + 1, Hold.HOPS), (10**6, Hold.HOPS)]
)
def test_too_many_hops_from_the_root_hold_the_job(hops: int, hold: Hold | None) -> None:
    """A loop between modules comes to rest, to be looked at: its jobs are held, not dead, and not dropped."""
    (job,) = jobs_for(made("photo", hops=hops), [subscriber("detect")], max_hops=HOPS)
    assert (job.state, job.hold) == (State.WAITING, hold)
