"""News between listeners and processes, and where a database may lie."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ion.adapters.sqlite.database import Database
from ion.adapters.sqlite.filesystem import filesystem_type, refuse_network
from ion.adapters.sqlite.wakeup import Wakeup, private_folder, socket_folder
from ion.errors import UnsupportedError
from ion.ports.ledger import Changes, Listener

BOUND_S = 120.0


async def collect(listener: Listener, enough: Callable[[Changes], bool]) -> Changes:
    """Gathers news until it is enough."""
    news = Changes(0)
    async with asyncio.timeout(BOUND_S):
        while not enough(news):
            news |= await listener.wait()
    return news


async def test_listener_hears_its_kinds_once() -> None:
    """A listener gets the kinds it asked for, together, and then nothing until there is more."""
    async with Database(None) as database, database.listen(Changes.DUE | Changes.ENDED) as listener:
        await database.write(lambda _: None, changes=Changes.DUE | Changes.CANCEL)
        await database.write(lambda _: None, wakes=lambda _: Changes.ENDED)
        assert await listener.wait(0) == Changes.DUE | Changes.ENDED
        assert await listener.wait(0) == Changes(0)


async def test_failed_write_is_no_news() -> None:
    """A write that was undone tells nobody."""
    async with Database(None) as database, database.listen(Changes.ANY) as listener:
        with pytest.raises(ZeroDivisionError):
            await database.write(lambda _: 1 // 0, changes=Changes.DUE)
        assert await listener.wait(0) == Changes(0)


async def test_waiting_listener_wakes() -> None:
    """A listener that waits without bound returns when something is written."""
    async with Database(None) as database, database.listen(Changes.DUE) as listener, asyncio.timeout(BOUND_S):
        waiting = asyncio.create_task(listener.wait())
        await asyncio.sleep(0)
        await database.write(lambda _: None, changes=Changes.DUE)
        assert await waiting == Changes.DUE


async def test_two_open_databases_hear_each_other(tmp_path: Path) -> None:
    """News of one open database reaches listeners of another on the same file, also when it opened later."""
    async with Database(tmp_path / "ion.db") as one:
        await one.write(lambda _: None, changes=Changes.DUE)
        async with Database(tmp_path / "ion.db") as two, two.listen(Changes.ANY) as listener:
            await one.write(lambda _: None, changes=Changes.ENDED)
            assert await listener.wait(BOUND_S) == Changes.ENDED


async def test_flood_of_news_loses_no_kind(tmp_path: Path) -> None:
    """A kind that is told while the receiver's queue is full of others still arrives."""
    with TemporaryDirectory(prefix="ion-news-", dir="/tmp") as short:
        folder = Path(short) / "post"
        one, two = Wakeup(tmp_path, folder), Wakeup(tmp_path, folder)
        one.open()
        two.open()
        async with two.listen(Changes.ANY) as listener:
            for _ in range(5000):
                one.announce(Changes.DUE)
            one.announce(Changes.ENDED)
            assert await collect(listener, lambda news: Changes.ENDED in news) == Changes.DUE | Changes.ENDED
        one.close()
        two.close()


async def test_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    """What a killed process left behind is cleared by the next sender, and a closing one clears its own."""
    folder = socket_folder(tmp_path / "ion.db")
    private_folder(folder)
    program = (
        "import os, socket, sys;"
        "orphan = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); orphan.bind(sys.argv[1]);"
        "os.kill(os.getpid(), 9)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder / "orphan"))
    await process.wait()
    assert (folder / "orphan").is_socket()
    async with Database(tmp_path / "ion.db") as database:
        await database.write(lambda _: None, changes=Changes.DUE)
        assert not (folder / "orphan").exists()
        assert len(list(folder.iterdir())) == 1
    assert not folder.exists()


async def test_opening_and_closing_at_once_disturbs_nobody(tmp_path: Path) -> None:
    """Processes that come and go together each get a socket, although the last to leave takes the folder along."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from ion.adapters.sqlite.wakeup import Wakeup\n"
        "async def main():\n"
        "    wakeup = Wakeup(pathlib.Path(sys.argv[1]))\n"
        "    for _ in range(300):\n"
        "        wakeup.open()\n"
        "        wakeup.close()\n"
        "asyncio.run(main())\n"
    )
    arguments = (sys.executable, "-c", program, str(tmp_path / "ion.db"))
    processes = [await asyncio.create_subprocess_exec(*arguments) for _ in range(3)]
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 0, 0]


async def test_vanished_folder_of_sockets_stops_nobody(tmp_path: Path) -> None:
    """Where a cleaner removed the sockets, writes and local listeners go on."""
    folder = socket_folder(tmp_path / "ion.db")
    async with Database(tmp_path / "ion.db") as database, database.listen(Changes.DUE) as listener:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        await database.write(lambda _: None, changes=Changes.DUE)
        assert await listener.wait(0) == Changes.DUE


async def test_long_path_of_a_database_is_no_hindrance(tmp_path: Path) -> None:
    """A file deep in folders opens although a socket's path may have 107 bytes only."""
    deep = tmp_path / ("x" * 100) / ("y" * 100) / "ion.db"
    async with Database(deep) as database:
        await database.write(lambda _: None, changes=Changes.DUE)


def test_folder_of_sockets_must_be_ours(tmp_path: Path) -> None:
    """A link, or whatever else somebody put in the folder's place, is refused; what Ion makes is closed to others."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(UnsupportedError):
        private_folder(tmp_path / "link" / "post")
    assert private_folder(tmp_path / "own" / "post").stat().st_mode & 0o077 == 0


# ---- where a database may lie -----------------------------------------------------------------------------------

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home/me/my\\040share rw shared:2 - nfs4 server:/x rw
31 30 0:41 / /home/me/my\\040share/local rw - xfs /dev/vdb rw
32 22 0:42 / /data rw - ext4 /dev/vdc rw
33 22 0:43 / /data rw - fuse.sshfs me@host:/ rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/ion.db", "ext4"),
        ("/home/me/my share/.ion/ion.db", "nfs4"),
        ("/home/me/my share/local/ion.db", "xfs"),
        ("/home/me/my shareware/ion.db", "ext4"),
        ("/data/ion.db", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_latest_mount_decides(tmp_path: Path, path: str, kind: str) -> None:
    """The type is that of the mount which holds the path: the longest point, and of equal ones the last."""
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert filesystem_type(Path(path), tmp_path / "mountinfo") == kind


def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    """A store on a network file system is refused with the reason and the way out; a local one is not."""
    (tmp_path / "mountinfo").write_text(MOUNTS)
    with pytest.raises(UnsupportedError, match=r"network file system \(nfs4\).*--store"):
        refuse_network(Path("/home/me/my share/ion.db"), tmp_path / "mountinfo")
    refuse_network(Path("/home/me/ion.db"), tmp_path / "mountinfo")
