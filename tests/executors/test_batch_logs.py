"""How the output of a task is read: in whatever pieces, whatever it holds, whatever breaks off in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from azure.batch.models import BatchTaskCreateOptions
from tests.batch_double.place import becomes
from tests.batch_double.service import BatchDouble, batch_double
from tests.batch_double.signature import ACCOUNT, KEY

from ion.adapters.executors.azurebatch.client import Batch
from ion.adapters.executors.azurebatch.log import TaskLog
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.log import LINE_LIMIT
from ion.errors import UnavailableError

JOB, TASK = "job", "task"
STAMP = "2026-01-01T00:00:00.000000000Z"
LONG = 3 * LINE_LIMIT


class Reading:
    """A task that says `output`, and its log in `file`."""

    def __init__(self, double: BatchDouble, batch: Batch, folder: Path) -> None:
        self.double, self.batch, self.file = double, batch, folder / "log"

    async def said(self, output: bytes, secrets: Sequence[str] = ()) -> TaskLog:
        (self.double.account.folder / "output").write_bytes(output)
        line = f"/bin/sh -c 'cat {self.double.account.folder}/output; echo complaint >&2'"
        await self.batch.make_job(JOB, "ion")
        await self.batch.add(JOB, [BatchTaskCreateOptions(id=TASK, command_line=line)])
        await becomes(lambda: self.double.account.one("completed") is not None)
        return TaskLog(self.batch, JOB, TASK, self.file, limit=2**24, secrets=secrets)


@pytest.fixture
async def reading(tmp_path: Path) -> AsyncIterator[Reading]:
    with batch_double(tmp_path / "batch") as double:
        async with Batch(BatchSettings(url=double.url, account=ACCOUNT, key=KEY)) as batch:
            yield Reading(double, batch, tmp_path)


async def test_a_line_that_breaks_off_leaves_nothing_twice(reading: Reading) -> None:
    """The connection goes away in the middle of the file, and the rest is read later."""
    lines = b"".join(b"%s line %d\n" % (STAMP.encode(), number) for number in range(5000))
    log = await reading.said(lines)
    reading.double.breaks = 2
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await log.read_on()
    await log.complete()
    assert [line.split()[-1] for line in reading.file.read_bytes().splitlines()[:-1]] == [
        b"%d" % n for n in range(5000)
    ]


async def test_a_reading_that_is_cancelled_leaves_nothing_twice(reading: Reading) -> None:
    """As that beside a module is, when the module has ended."""
    log = await reading.said(b"".join(b"%s line %d\n" % (STAMP.encode(), number) for number in range(50_000)))
    beside = asyncio.create_task(log.read_on())
    await becomes(lambda: log.begun)
    beside.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beside
    await log.complete()
    numbers = [int(line.split()[-1]) for line in reading.file.read_bytes().splitlines()[:-1]]
    assert numbers == list(range(50_000))


@pytest.mark.parametrize("stamp", ["2026-99-99T99:99:99Z", "0001-01-01T00:00:00+10:00"])
async def test_what_only_looks_like_a_time_is_text(reading: Reading, stamp: str) -> None:
    """A module says what it likes, also where a line of its was cut."""
    log = await reading.said(f"{stamp} text\n".encode())
    await log.complete()
    assert f"{stamp} text" in reading.file.read_text()


async def test_a_secret_is_masked_where_a_line_is_cut(reading: Reading) -> None:
    """Half of it would be too much."""
    secret = "the-value-of-a-secret"
    text = "x" * (LINE_LIMIT - len(STAMP) - 1 - len(secret) // 2)
    log = await reading.said(f"{STAMP} {text}{secret}{'y' * LONG}\n".encode(), secrets=[secret])
    await log.complete()
    logged = reading.file.read_bytes()
    assert b"***" in logged
    assert secret[: len(secret) // 2].encode() not in logged
    assert secret[len(secret) // 2 + 1 :].encode() not in logged
    assert logged.count(b"y") == LONG


async def test_a_run_that_begins_while_a_piece_is_stored_has_pieces_of_its_own(reading: Reading) -> None:
    """From its first byte on, for they are put together without this dispatcher."""
    log, stored = await reading.said(b""), dict[str, bytes]()

    async def put(path: str, content: bytes) -> None:
        stored[path] = content
        if len(stored) == 1:
            log.see(2.0)
            log.say("again")

    blobs = SimpleNamespace(put_bytes=put)
    log.see(1.0)
    log.say("begun")
    await log.store_piece(blobs, "first {}-{}".format)  # type: ignore[arg-type] # it has the one verb
    await log.store_piece(blobs, "second {}-{}".format)  # type: ignore[arg-type]
    (first, second) = stored.values()
    assert (first.endswith(b" begun\n"), second.endswith(b" again\n"), second.count(b"\n")) == (True, True, 1)
    assert list(stored) == [f"first 0-{len(first)}", f"second 0-{len(second)}"]


async def test_bytes_that_are_no_text_stay_as_they_are(reading: Reading) -> None:
    """A log is bytes."""
    log = await reading.said(STAMP.encode() + b" \xff\xfe\x00\n")
    await log.complete()
    assert b" \xff\xfe\x00\n" in reading.file.read_bytes()


async def test_a_node_that_starts_again_is_asked_later(reading: Reading) -> None:
    """It still has its files."""
    log = await reading.said(b"text\n")
    task = reading.double.account.one()
    assert task is not None
    reading.double.account.lose_files(task, 409, "NodeBeingRebooted")
    with pytest.raises(UnavailableError):
        await log.complete()
    task.no_files = None
    await log.complete()
    assert b"text\n" in reading.file.read_bytes()


async def test_a_log_that_is_closed_takes_nothing_more(reading: Reading) -> None:
    """Somebody may be reading along; its file's number may be another file's by now."""
    log = await reading.said(b"".join(b"%s line %d\n" % (STAMP.encode(), number) for number in range(50_000)))
    beside = asyncio.create_task(log.read_on())
    await becomes(lambda: log.begun)
    assert log.close() == ""
    size = reading.file.stat().st_size
    await beside
    assert log.close() == ""
    assert reading.file.stat().st_size == size
