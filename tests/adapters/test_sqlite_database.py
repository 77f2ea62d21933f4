"""The SQLite database: group commit, several processes, death at any instruction, migrations and errors."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from ion.adapters.sqlite import database as subject
from ion.adapters.sqlite.database import Database
from ion.adapters.sqlite.migrations import migrate, statements
from ion.errors import UnavailableError, UnsupportedError

WRITER = Path(__file__).with_name("sqlite_writer.py")


@asynccontextmanager
async def writer(file: Path, name: str, count: int, synchronous: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A writing process that has the file open and waits for its start; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WRITER), str(file), name, str(count), synchronous),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def start(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")


async def make_marks(file: Path) -> None:
    async with Database(file) as database:
        await database.write(create_marks)


def create_marks(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE marks (seq INTEGER PRIMARY KEY, name TEXT, number INTEGER UNIQUE)")


def mark(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO marks (name, number) VALUES ('me', ?)", (number,))
    return number


def count_marks(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM marks").fetchone()
    return int(count)


@pytest.fixture(params=["memory", "normal", "full"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    file = None if request.param == "memory" else tmp_path / "ion.db"
    async with Database(file, synchronous="full" if request.param == "full" else "normal") as opened:
        await opened.write(create_marks)
        yield opened


# ---- writing ----------------------------------------------------------------------------------------------------


async def test_write_returns_what_the_work_returns(database: Database) -> None:
    """The result of the work comes back, and a read afterwards sees what it did."""
    assert await database.write(lambda db: mark(db, 7)) == 7
    assert database.read(count_marks) == 1


async def test_concurrent_writes_are_all_done(database: Database) -> None:
    """Many writes at once, more than one batch holds, are each done once."""
    numbers = await asyncio.gather(*(database.write(partial(mark, number=n)) for n in range(300)))
    assert numbers == list(range(300))
    assert database.read(count_marks) == 300


async def test_writes_of_one_turn_share_a_transaction(database: Database) -> None:
    """Writes queued together are one transaction: a reader never sees a part of them."""
    seen: list[int] = []

    async def watch() -> None:
        while not seen or seen[-1] < 50:
            seen.append(database.read(count_marks))
            await asyncio.sleep(0)

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for n in range(50):
            tasks.create_task(database.write(partial(mark, number=n)))
    assert set(seen) == {0, 50}


async def test_failing_write_is_undone_alone(database: Database) -> None:
    """A write that raises gets its own error, its changes are undone, and its neighbours are stored."""

    def fail(connection: sqlite3.Connection) -> None:
        mark(connection, 1)
        raise ZeroDivisionError

    results = await asyncio.gather(
        database.write(lambda db: mark(db, 0)),
        database.write(fail),
        database.write(lambda db: mark(db, 2)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [int, ZeroDivisionError, int]
    assert database.read(lambda db: db.execute("SELECT number FROM marks ORDER BY 1").fetchall()) == [(0,), (2,)]


async def test_broken_constraint_is_the_callers_error(database: Database) -> None:
    """A mistake in the caller's SQL comes out as it is, and the database goes on."""
    await database.write(lambda db: mark(db, 1))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda db: mark(db, 1))
    assert await database.write(lambda db: mark(db, 2)) == 2


async def test_cancelled_caller_disturbs_nobody(database: Database) -> None:
    """A caller that is cancelled while its write is queued leaves the others' writes alone."""
    first = asyncio.create_task(database.write(lambda db: mark(db, 1)))
    second = asyncio.create_task(database.write(lambda db: mark(db, 2)))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await database.write(lambda db: mark(db, 3)) == 3


async def test_queued_writes_are_done_before_closing(tmp_path: Path) -> None:
    """Leaving the context finishes what was queued."""
    await make_marks(tmp_path / "ion.db")
    async with Database(tmp_path / "ion.db") as database:
        tasks = [asyncio.create_task(database.write(partial(mark, number=n))) for n in range(200)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == list(range(200))


async def test_unopened_database_says_so() -> None:
    """A database that is not open, or not any more, refuses with one sentence."""
    closed = Database(None)
    with pytest.raises(UnavailableError, match="not open"):
        await closed.write(count_marks)
    async with closed:
        pass
    with pytest.raises(UnavailableError, match="not open"):
        closed.read(count_marks)


async def test_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    """Without room a write fails with what to do, changes nothing, and writing works again once there is room."""
    async with Database(tmp_path / "ion.db") as database:
        await database.write(create_marks)
        pages = database.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        database.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        with pytest.raises(UnavailableError, match="no room"):
            await database.write(lambda db: db.execute("CREATE TABLE big AS SELECT randomblob(100000)").rowcount)
        database.read(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert await database.write(lambda db: mark(db, 1)) == 1


# ---- several processes ------------------------------------------------------------------------------------------


async def test_write_waits_for_another_processs_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the lock the loop goes on, and the write is done once the lock is free."""
    monkeypatch.setattr(subject, "_PATIENCE_S", 120.0)
    file = tmp_path / "ion.db"
    await make_marks(file)
    async with Database(file) as database:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(database.write(lambda db: mark(db, 1)))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not task.done()
            other.execute("COMMIT")
            assert await task == 1


async def test_lock_that_never_comes_free_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience a write fails naming the file, has changed nothing, and the next one works."""
    monkeypatch.setattr(subject, "_PATIENCE_S", 0.05)
    file = tmp_path / "ion.db"
    await make_marks(file)
    async with Database(file) as database:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match=r"ion\.db is locked"):
                await database.write(lambda db: mark(db, 1))
        assert database.read(count_marks) == 0
        assert await database.write(lambda db: mark(db, 1)) == 1


async def test_processes_that_hammer_one_file_all_get_on(tmp_path: Path) -> None:
    """Three processes write without pause: all get on, and none has to wait for another's end."""
    file, names, enough = tmp_path / "ion.db", ("a", "b", "c"), 500
    async with Database(file) as database:
        await database.write(
            lambda db: db.execute("CREATE TABLE marks (seq INTEGER PRIMARY KEY, name, number)").rowcount
        )
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(writer(file, name, 1_000_000, "normal")) for name in names]
        acknowledged, all_got_on = dict.fromkeys(names, 0), asyncio.Event()

        async def follow(name: str, process: asyncio.subprocess.Process) -> None:
            """As long as it writes: one that is not heard would stop."""
            assert process.stdout is not None
            while await process.stdout.readline():
                acknowledged[name] += 1
                if min(acknowledged.values()) >= enough:
                    all_got_on.set()

        async with asyncio.timeout(600), asyncio.TaskGroup() as following:
            for name, process in zip(names, processes, strict=True):
                start(process)
                following.create_task(follow(name, process))
            await all_got_on.wait()
            assert [process.returncode for process in processes] == [None] * 3
            for process in processes:
                process.kill()
    async with Database(file) as database:
        for name in names:
            which = partial(_numbers, name=name)
            stored = database.read(which)
            assert stored == list(range(len(stored)))
            assert len(stored) >= acknowledged[name]


def _numbers(connection: sqlite3.Connection, name: str) -> list[int]:
    rows = connection.execute("SELECT number FROM marks WHERE name = ? ORDER BY seq", (name,))
    return [number for (number,) in rows]


@pytest.mark.parametrize("synchronous", ["normal", "full"])
@pytest.mark.parametrize("kill_after", [1, 40, 900])
async def test_acknowledged_writes_survive_a_kill(tmp_path: Path, synchronous: str, kill_after: int) -> None:
    """A process killed in a loop of writes leaves a file that opens and has every write it was told of."""
    file = tmp_path / "ion.db"
    await make_marks(file)
    async with writer(file, "victim", 1_000_000, synchronous) as process:
        start(process)
        assert process.stdout is not None
        for _ in range(kill_after):
            await process.stdout.readline()
        process.kill()
        rest = await process.stdout.read()
    acknowledged = kill_after + rest.count(b"\n")
    async with Database(file) as database:
        stored = database.read(lambda db: [n for (n,) in db.execute("SELECT number FROM marks ORDER BY seq")])
        assert stored == list(range(len(stored)))
        assert len(stored) in (acknowledged, acknowledged + 1)
        assert database.read(lambda db: db.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]


async def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Processes that open a file that does not exist yet all get the whole schema."""
    file = tmp_path / "new" / "ion.db"
    processes = [writer(file, str(number), 0, "normal") for number in range(4)]

    async def opens(process: int) -> None:
        async with processes[process] as opened:
            start(opened)
            assert await opened.wait() == 0

    await asyncio.gather(*(opens(number) for number in range(4)))
    async with Database(file) as database:
        assert database.read(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()) == (0,)


# ---- opening and migrating --------------------------------------------------------------------------------------


async def test_reopened_file_keeps_everything(tmp_path: Path) -> None:
    """What was written is there after closing and opening; the store's name is the file's path."""
    await make_marks(tmp_path / "ion.db")
    async with Database(tmp_path / "ion.db") as database:
        assert database.store == str(tmp_path / "ion.db")
        assert database.read(count_marks) == 0


async def test_memory_databases_are_apart() -> None:
    """Two databases in memory are two stores."""
    async with Database(None) as one, Database(None) as two:
        await one.write(create_marks)
        assert one.store != two.store
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            two.read(count_marks)


async def test_newer_database_is_refused(tmp_path: Path) -> None:
    """A file of a later version is left alone, with a sentence that says what to do."""
    with closing(sqlite3.connect(tmp_path / "ion.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(UnsupportedError, match="upgrade Ion"):
        async with Database(tmp_path / "ion.db"):
            pass


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A database with tables that Ion did not make is left alone."""
    with closing(sqlite3.connect(tmp_path / "ion.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(UnsupportedError, match="another program"):
        async with Database(tmp_path / "ion.db"):
            pass


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A text file is not overwritten; the error names it."""
    (tmp_path / "ion.db").write_text("a letter\n" * 1000)
    with pytest.raises(UnavailableError, match=r"ion\.db is not an SQLite database"):
        async with Database(tmp_path / "ion.db"):
            pass
    assert (tmp_path / "ion.db").read_text().startswith("a letter")


async def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where a file stands in the folder's place, the error names the folder."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(UnavailableError, match="taken"):
        async with Database(tmp_path / "taken" / "below" / "ion.db"):
            pass


def test_migrations_are_applied_in_order_and_once() -> None:
    """A database goes through the versions it lacks, and a second run changes nothing."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        first = "CREATE TABLE a (x);\n"
        migrate(connection, "here", (first,))
        migrate(connection, "here", (first, "ALTER TABLE a ADD COLUMN y;\n"))
        migrate(connection, "here", (first, "ALTER TABLE a ADD COLUMN y;\n"))
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert [row[1] for row in connection.execute("PRAGMA table_info(a)")] == ["x", "y"]


def test_failed_migration_leaves_the_old_version() -> None:
    """A migration that fails half-way leaves tables and version as they were."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "here", ("CREATE TABLE a (x);\n",))
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, "here", ("", "CREATE TABLE b (x);\nCREATE NONSENSE;\n"))
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["a"]


def test_scripts_are_split_between_statements() -> None:
    """A trigger with statements of its own is one statement; the last one may lack its semicolon."""
    script = "CREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a\nBEGIN\n SELECT 1;\n SELECT 2;\nEND;\nSELECT 3"
    assert [one.split()[1] for one in statements(script)] == ["TABLE", "TRIGGER", "3"]
