"""Every verb by way of the wire: what it gives and what it refuses is what the verb gives and refuses here."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.management.rpc.stage import World, remotely

from ion.errors import IonError
from ion.management.dead_letters import LetterFilter
from ion.management.events import RootFile
from ion.management.rpc.methods import methods
from ion.management.rpc.remote import RemoteManagement
from ion.management.usage import By
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.management.verbs.findings import KeyValue
from ion.model.job import FailureClass, State
from ion.model.module import Module, Subscription
from ion.ports.ledger import Control, JobFilter

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MOVING = frozenset({"now", "oldest_s", "oldest_unreleased_s", "quiet_s", "beat"})
"""What is another at every look."""


def readings(world: World) -> list[tuple[str, dict[str, Any]]]:
    """Verbs that change nothing, with arguments."""
    return [
        ("jobs.get", {"job": world.detect}),
        ("jobs.get", {"job": world.broken[:13]}),
        ("jobs.show", {"job": world.detect}),
        ("jobs.show", {"job": world.broken}),
        ("jobs.page", {"which": JobFilter(), "most": 2}),
        ("jobs.page", {"which": JobFilter(states=(State.DEAD, State.RELEASED), module="detect")}),
        ("jobs.latest", {"which": JobFilter(correlation_id=world.flow[:9]), "most": 2}),
        ("jobs.log", {"job": world.detect}),
        ("jobs.log", {"job": world.detect, "follow": True, "start": 6}),
        ("jobs.files", {"job": world.detect, "ttl_s": 60.0}),
        ("jobs.read", {"job": world.detect, "role": "out", "path": "face.txt"}),
        ("jobs.work", {"job": world.detect}),
        ("jobs.rerun", {"jobs": (world.detect,), "dry": True}),
        ("jobs.rerun", {"module": "detect", "since": LONG_AGO, "states": (State.RELEASED,), "dry": True}),
        ("letters.list", {"which": LetterFilter(kinds=(FailureClass.MODULE,), since=LONG_AGO)}),
        ("letters.redrive", {"which": LetterFilter(module="broken"), "dry": True}),
        ("flows.get", {"flow": world.flow}),
        ("flows.list", {}),
        ("flows.wait", {"flow": world.flow}),
        ("flows.records", {"flow": world.flow}),
        ("flows.tree", {"flow": world.flow}),
        ("flows.report", {"flow": world.flow}),
        ("modules.list", {}),
        ("modules.get", {"name": "broken"}),
        ("modules.apply", {"modules": (Module(name="new", command=("true",), on=(FACE,)),), "dry": True}),
        ("modules.history", {"name": "detect"}),
        ("bus.depths", {}),
        ("bus.replay", {"since": LONG_AGO, "dry": True}),
        ("findings.find", {"insights": (KeyValue(key="label", value="Grüße"),), "flow": world.flow}),
        ("findings.why", {"job": world.broken}),
        ("findings.insights", {"module": "detect", "until": datetime(2100, 1, 1, tzinfo=UTC)}),
        ("server.info", {}),
        ("server.overview", {}),
        ("server.doctor", {}),
        ("server.audit", {}),
        ("server.usage", {"by": By.MODULE}),
        ("server.collect", {"dry": True}),
        ("server.trail", {"most": 5}),
    ]


def changes(world: World) -> list[tuple[str, dict[str, Any]]]:
    """Verbs that change something, in an order in which each can; once here and once there they give the same."""
    return [
        ("modules.apply", {"modules": (Module(name="new", command=("true",), on=(FACE,), network=False),)}),
        ("modules.scale", {"name": "new", "concurrency": 7}),
        ("modules.rollback", {"name": "new"}),
        ("modules.pause", {"name": "new", "paused": True}),
        ("modules.delete", {"name": "new", "cancel": True}),
        ("jobs.retry", {"jobs": (world.broken,)}),
        ("jobs.cancel", {"jobs": (world.broken,)}),
        ("flows.prioritise", {"flow": world.flow, "priority": -5}),
        ("flows.control", {"flow": world.flow, "control": Control.PAUSED}),
        ("flows.control", {"flow": world.flow, "control": Control.NONE}),
    ]


REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("jobs.get", {"job": "nowhere"}),
    ("jobs.get", {"job": ""}),
    ("jobs.page", {"which": JobFilter(), "most": 0}),
    ("jobs.log", {"job": "nowhere", "follow": True}),
    ("jobs.retry", {"jobs": ()}),
    ("jobs.rerun", {}),
    ("letters.redrive", {"which": LetterFilter()}),
    ("flows.wait", {"flow": "nowhere"}),
    ("modules.get", {"name": "detekt"}),
    ("modules.apply", {"modules": (Module(name="new"),)}),
    ("events.next", {"event_type": "nothing", "group": "g", "timeout_s": 0.0, "take": False}),
    ("events.create", {"event": NewEvent(type="pohto")}),
    ("events.create", {"event": NewEvent(type="photo"), "files": [RootFile(name="a", file=Path("/nowhere/x"))]}),
    ("findings.find", {}),
]
FACE = Subscription(type="face")


@pytest.fixture
async def remote(world: World, tmp_path: Path) -> AsyncIterator[RemoteManagement]:
    async with remotely(world.local, tmp_path / "spool") as made:
        yield made


async def asked(management: Management, verb: str, given: dict[str, Any]) -> Any:
    """What a verb gives, as plain values; the pieces of a stream of bytes are put together."""
    group, _, name = verb.partition(".")
    result = getattr(getattr(management, group), name)(**given)
    if not isinstance(result, AsyncIterator):
        return steady(await result)
    items = [item async for item in result]
    return b"".join(items) if items and isinstance(items[0], bytes) else [steady(item) for item in items]


def steady(value: Any) -> Any:
    """The value without what moves."""
    if isinstance(value, msgspec.Struct):
        fields = {name: steady(getattr(value, name)) for name in value.__struct_fields__ if name not in MOVING}
        return type(value), fields
    if isinstance(value, str):
        value = re.sub(r"[\d.]+ \w?B \(\d+%\)", "some room", value)  # the disk is not this test's alone
        return re.sub(r"[\d.]+ (ms|s)\b", "some time", value)
    return [steady(one) for one in value] if isinstance(value, tuple) else value


async def test_verbs_give_the_same_there_as_here(world: World, remote: RemoteManagement) -> None:
    """Every verb that only reads gives by the wire what it gives on the store, to the last field."""
    for verb, given in readings(world):
        assert await asked(remote, verb, given) == await asked(world.local, verb, given), verb


async def test_changes_are_made_there_as_here(world: World, remote: RemoteManagement, tmp_path: Path) -> None:
    """Every verb that changes something answers by the wire as on a store, and the store is changed."""
    for verb, given in changes(world):
        answer = await asked(remote, verb, given)
        kind = answer[0] if isinstance(answer, tuple) else list
        assert kind in {list, tuple} or issubclass(kind, msgspec.Struct), verb
    assert (await world.local.jobs.get(job=world.broken)).state is State.CANCELLED
    assert (await world.local.flows.get(flow=world.flow)).flow.priority == -5
    assert [one.module.name for one in await world.local.modules.list()] == ["broken", "detect"]
    (tmp_path / "new.jpg").write_bytes(content := b"x" * 700_001)
    files = [RootFile(name="in/new.jpg", file=tmp_path / "new.jpg"), RootFile(name="same", file=tmp_path / "new.jpg")]
    raised = await remote.events.create(event=NewEvent(type="photo", id="mine", data=["any", 1]), files=files)
    assert raised.event == (await world.local.jobs.get(job=raised.job)).event
    assert await asked(world.local, "jobs.read", {"job": raised.job, "role": "out", "path": "in/new.jpg"}) == content
    again = await remote.events.create(event=NewEvent(type="photo", id="mine", data=["any", 1]))
    assert (again.duplicate, again.event) == (True, raised.event)
    assert not list((tmp_path / "spool").iterdir())


async def test_an_event_of_the_bus_comes_by_the_wire(world: World, remote: RemoteManagement) -> None:
    """Looking at the bus's next event and taking it give the event's document."""
    given: dict[str, Any] = {"event_type": "seen", "group": "me", "timeout_s": 0.0}
    with pytest.raises(IonError):
        await anext(remote.events.next(**given, take=False))  # makes the subscription, which hears from now on
    seen = msgspec.structs.replace((await world.local.jobs.get(job=world.detect)).event, type="seen")
    await world.stores.bus.publish([seen])
    (peeked,) = [piece async for piece in remote.events.next(**given, take=False)]
    assert [peeked] == [piece async for piece in remote.events.next(**given, take=True)]
    with pytest.raises(IonError):  # it is gone
        await anext(remote.events.next(**given, take=False))
    assert msgspec.json.decode(peeked)["type"] == "seen"


async def test_refusals_are_the_same_there_as_here(world: World, remote: RemoteManagement) -> None:
    """Errors come by the wire with their class and their sentence."""
    for verb, given in REFUSALS:
        said = []
        for management in (world.local, remote):
            with pytest.raises(IonError) as refusal:
                await asked(management, verb, given)
            said.append((type(refusal.value), str(refusal.value)))
        if verb != "events.create" or "files" not in given:
            assert said[0] == said[1], verb


def test_every_verb_is_tried() -> None:
    """No verb is left out of the comparison."""
    nobody = World(stores=None, local=None, flow="", root="", detect="", broken="")  # type: ignore[arg-type]
    tried = {verb for verb, _ in [*readings(nobody), *changes(nobody), *REFUSALS]}
    assert tried == {f"{method.group}.{method.verb}" for method in methods()}
