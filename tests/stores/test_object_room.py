"""Who gets room in memory, and when."""

import asyncio

from ion.adapters.blobs.objects_room import Room
from ion.adapters.blobs.objects_settings import MIB, SHORT


async def held(room: Room, size: int, events: list[str], name: str, *, long: bool = False) -> None:
    async with room.taken(size, long=long):
        events.append(name)
        await asyncio.Event().wait()


async def started(room: Room, *wanted: tuple[str, int, bool]) -> tuple[list[str], dict[str, asyncio.Task[None]]]:
    """Tasks that want room, in this order; which of them have it, and all of them."""
    events: list[str] = []
    tasks = {name: asyncio.create_task(held(room, size, events, name, long=long)) for name, size, long in wanted}
    await turns()
    return events, tasks


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await turns()


async def test_no_more_is_held_than_there_is() -> None:
    """Who wants more than is free waits until others have gone, and all of it comes back."""
    room = Room(64 * MIB)
    events, tasks = await started(room, *((str(number), 7 * MIB, False) for number in range(12)))
    assert len(events) == 9
    assert room.free == MIB
    await end(tasks["0"], tasks["1"], tasks["2"])
    assert len(events) == 12
    await end(*tasks.values())
    assert room.free == room.total


async def test_a_waiting_upload_does_not_keep_small_ones_out() -> None:
    """While two uploads go on and a third waits, small transfers still find their share."""
    room = Room(64 * MIB)
    large = 27 * MIB
    events, tasks = await started(room, *((name, large, True) for name in ("a", "b", "c")), ("small", SHORT, False))
    assert events == ["a", "b", "small"]
    await end(*tasks.values())


async def test_small_ones_do_not_keep_an_upload_out() -> None:
    """Once an upload waits, small transfers get no more than their share, so that its turn comes."""
    room = Room(64 * MIB)
    events, tasks = await started(
        room,
        *((f"early {number}", 5 * MIB, False) for number in range(12)),
        ("large", 54 * MIB, True),
        *((f"late {number}", 5 * MIB, False) for number in range(12)),
    )
    assert len(events) == 12
    await end(*(tasks[f"early {number}"] for number in range(12)))
    assert events[12:] == ["late 0", "late 1", "large"] or events[12] == "large"
    assert "large" in events
    await end(*tasks.values())
    assert room.free == room.total


async def test_who_stops_waiting_holds_up_nobody() -> None:
    """A waiter that is cancelled makes way for the next, in the instant of its turn too."""
    room = Room(64 * MIB)
    events, tasks = await started(room, ("a", 54 * MIB, True), ("b", 54 * MIB, True), ("c", 20 * MIB, True))
    assert events == ["a"]
    tasks["a"].cancel()
    tasks["b"].cancel()
    await turns()
    assert events == ["a", "c"]
    await end(*tasks.values())
    assert room.free == room.total


async def test_more_than_there_is_gets_all() -> None:
    """A document larger than the whole room still comes, by itself."""
    room = Room(64 * MIB)
    async with room.taken(200 * MIB):
        assert room.free == SHORT
    assert room.free == room.total
