"""The audit trail: what is written of changes, and what is not."""

import logging
from datetime import UTC, datetime

import msgspec
import pytest
from tests.management.access.conftest import DETECT, World

from ion.errors import DeniedError, NotFoundError, UnavailableError
from ion.management.access.callers import Caller
from ion.management.access.record import about, masked, recorded
from ion.management.dead_letters import LetterFilter
from ion.management.local import LocalManagement
from ion.management.verbs.events import NewEvent
from ion.model.job import FailureClass, State
from ion.model.retention import Retention
from ion.model.role import Role
from ion.ports.ledger import Entry, JobFilter
from ion.wiring.management import open_management


async def test_a_change_by_the_api_is_recorded(world: World) -> None:
    """Who, with which role, what, from where; a look is not."""
    async with world.serving() as port, world.client("olga", Role.OPERATOR).to(port) as olga:
        await olga.modules.scale(name="detect", concurrency=2)
        await olga.modules.get(name="detect")
    (entry,) = await world.trail()
    assert (entry.actor, entry.role, entry.verb) == ("olga", "operator", "modules.scale")
    assert (entry.about, entry.outcome) == ("name=detect concurrency=2", "")
    assert entry.peer.startswith(("127.0.0.1:", "[::1]:"))
    assert abs((datetime.now(UTC) - entry.at).total_seconds()) < 600


async def test_a_refusal_is_recorded(world: World) -> None:
    """By the gate as well as by the verb, with the sentence that the caller got."""
    async with world.serving() as port, world.client("olga", Role.OPERATOR).to(port) as olga:
        with pytest.raises(DeniedError) as denied:
            await olga.modules.delete(name="detect")
        with pytest.raises(NotFoundError) as missing:
            await olga.modules.pause(name="detcet", paused=True)
    assert [(one.verb, one.outcome) for one in await world.trail()] == [
        ("modules.delete", str(denied.value)),
        ("modules.pause", str(missing.value)),
    ]


async def test_a_change_by_a_command_on_the_store_is_recorded(world: World) -> None:
    """As one by the API is, with the user of this host."""
    async with open_management(world.store) as management:
        await management.modules.pause(name="detect", paused=True)
    (entry,) = await world.trail()
    assert (entry.verb, entry.about, entry.peer) == ("modules.pause", "name=detect paused=True", "here")
    assert entry.actor


async def test_what_would_be_done_is_not_recorded(world: World) -> None:
    """A dry run changes nothing."""
    async with open_management(world.store) as management:
        await management.modules.apply(modules=(DETECT,), pipeline="media", dry=True)
    assert await world.trail() == []


async def test_a_change_in_a_stream_is_recorded_when_it_is_left(world: World) -> None:
    """Read to its end, or broken off in the middle."""
    await world.raised("photo")
    await world.raised("photo")
    async with open_management(world.store) as management:
        for job in (await management.jobs.page(which=JobFilter(module="detect"))).jobs:
            await management.jobs.cancel(jobs=(job.id,))
        reruns = management.jobs.rerun(module="detect", states=(State.CANCELLED,))
        await anext(aiter(reruns))
        await reruns.aclose()  # type: ignore[attr-defined]
    assert [(one.verb, one.outcome) for one in await world.trail()][2:] == [("jobs.rerun", "it was broken off")]


async def test_contents_and_secrets_are_not_told(world: World) -> None:
    """Neither what an event carries, nor a module's environment; what looks like a secret is masked."""
    event = NewEvent(type="photo", id="e1", data={"card": "4711"}, subject="s")
    assert about({"event": event, "files": ()}) == "event=photo:e1"
    module = msgspec.structs.replace(DETECT, env={"KEY": "4711"})
    assert (
        about({"modules": (module,), "pipeline": "media", "prune": True}) == "modules=detect pipeline=media prune=True"
    )
    which = LetterFilter(module="detect", kinds=(FailureClass.TIMEOUT,))
    assert about({"jobs": (), "which": which, "image": ""}) == "which=module:detect,kinds:timeout"
    assert about({"jobs": tuple(map(str, range(12)))}) == "jobs=0,1,2,3,4,5,6,7,8,9,… (12)"
    assert masked("at https://me:pw@host/x?sig=abc&v=1: password=hunter2") == (
        "at https://***@host/x?sig=***&v=1: password=***"
    )


async def test_a_change_stands_where_its_entry_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the log has it: an error would tell the caller that nothing was done."""

    async def away(_: Entry) -> None:
        raise UnavailableError("the ledger does not answer")

    monkeypatch.setattr(world.ledger, "note", away)
    local = LocalManagement(world.stores, actor="me", work=None, retention=Retention(), place="here")
    with caplog.at_level(logging.ERROR):
        await recorded(local, Caller(actor="me"), world.ledger).modules.pause(name="detect", paused=True)
    assert any(one.paused for one in await world.ledger.modules())
    assert "the audit trail lacks an entry" in caplog.text
    assert "modules.pause" in caplog.text
