"""Blobs as files below one folder, for one host.

A blob appears by `link(2)`, which gives a complete file its name or fails if the name is taken: that is create-only and
all or nothing, whenever the writer is killed. Until then the content has a name in `.tmp`, on the same file system;
what a killed process leaves there is removed at a later opening. SIGKILL loses nothing; a power cut may lose what the
kernel had not written yet, unless the store is `durable`.

Stored files are read-only (0444) and belong to whoever runs the store. The root is closed to others (0700), for modules
never read it: their files are brought to them. Bringing costs nothing where the file system clones; with `links`, a
larger file comes as a second name of the stored file itself. A mode does not keep root, or the owner, from writing, so
whoever hands such links out has to guard them, with leases where `leases_work`.

Blobs lie at `root/ab/abcd…/…`: 256 shards keep folders short where the first part is a UUID.
"""

import asyncio
import errno
import fcntl
import os
import stat
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from ion.adapters.blobs import copying, folders
from ion.adapters.blobs.paths import check_path, check_prefix
from ion.errors import (
    ConflictError,
    ExistsError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from ion.ports.blobs import BlobInfo, Blobs, BlobsGuarantees

LINK_FROM = 256 * 1024
"""Smaller files are copied, in the caller's thread: that is quicker than guarding a link or changing threads."""
CHUNK = 1024 * 1024
STALE_S = 3600.0
"""What lies in `.tmp` unchanged for so long belongs to no living writer."""

_PAGE = 500
_TRIES = 100
_READING = frozenset({"bring", "read"})


class FilesystemBlobs(Blobs):
    """A blob store in the folder `root`, made when missing. `links` as in the guarantees: see the module's text.

    With `durable` a blob is forced to the disk, and its folders with it, before a put returns: it outlives a power cut.
    """

    def __init__(self, root: Path, *, links: bool = False, durable: bool = False) -> None:
        self._root = root.absolute()
        self._tmp = self._root / ".tmp"
        self._prefix = f"{self._root}/"
        self._names = (f"{self._tmp}/{uuid.uuid4().hex}-{number}" for number in count())
        self._links = links
        self._durable = durable
        self._clones = False

    @property
    def guarantees(self) -> BlobsGuarantees:
        return BlobsGuarantees(create_only=True, links=self._links, local=True)

    async def __aenter__(self) -> Self:
        with _Faults(self._root, "open"):
            self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def expect(self, prefix: str) -> None:
        with suppress(OSError):
            folders.make(self._place(check_prefix(prefix)[:-1]), self._prefix)

    # ---- putting ----------------------------------------------------------------------------------------------

    async def put(self, path: str, file: Path, *, move: bool = False) -> None:
        """See the port. With `move` the file keeps its old name as well: whoever owns that folder removes it."""
        final = self._place(path)
        with _Faults(self._root, "store", path):
            info = _source_info(file)
            if move and self._taken(file, info, final):
                return
            _check_free(final)
            if info.st_size < LINK_FROM:
                self._copy_in(file, final)
            else:
                await copying.apart(partial(self._copy_in, file, final))

    async def put_bytes(self, path: str, content: bytes) -> None:
        final, tmp = self._place(path), next(self._names)
        with _Faults(self._root, "store", path):
            target = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o400)
            try:
                os.fchmod(target, 0o444)
                copying.write(target, content)
                self._publish(tmp, final)
            finally:
                os.close(target)
                with suppress(FileNotFoundError):
                    os.unlink(tmp)  # noqa: PTH108  here and below: this is every small file's way, and paths cost

    def _taken(self, file: Path, info: os.stat_result, final: str) -> bool:
        """Makes the very file the blob; False where it has to be copied."""
        if info.st_nlink != 1:  # somebody has it under another name, and has not given that up
            return False
        try:
            if info.st_uid != os.geteuid():
                os.chown(file, os.geteuid(), -1, follow_symlinks=False)
            file.chmod(0o444)
            self._publish(file, final)
        except OSError as error:
            if error.errno in copying.NO_LINK:
                return False
            raise
        return True

    def _copy_in(self, file: Path, final: str, stop: threading.Event | None = None) -> None:
        with copying.opened(file) as source, self._temporary() as (tmp, target):
            if not (self._clones and copying.clone(source, target)):
                copying.copy(source, target, stop)
            self._publish(tmp, final)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[str, int]]:
        """A fresh read-only file in `.tmp`, open for writing; its name goes at the end, for by then it has another."""
        tmp = next(self._names)
        with copying.created(tmp, 0o444) as target:
            yield tmp, target
            with suppress(FileNotFoundError):
                os.unlink(tmp)  # noqa: PTH108  as above

    def _publish(self, file: Path | str, final: str) -> None:
        """Gives a whole file its blob's name; a `delete` may take the empty folder away under our hands."""
        for _ in range(_TRIES):
            try:
                os.link(file, final, follow_symlinks=False)
            except FileNotFoundError:
                os.lstat(file)  # raises if it is the file that is missing
                folders.make(final.rpartition("/")[0], self._prefix)
            else:
                if self._durable:
                    self._force(final)
                return
        raise OSError(errno.EBUSY, "its folder is removed again and again")

    def _force(self, final: str) -> None:
        """The blob first, then every folder up to the root: a name on the disk leads to what is there."""
        place = final
        while len(place) >= len(self._prefix) - 1:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            place = place.rpartition("/")[0]

    # ---- getting ----------------------------------------------------------------------------------------------

    async def get(self, path: str, file: Path, *, private: bool = False) -> bool:
        stored = self._place(path)
        with _Faults(self._root, "bring", path):
            size = self._size(path, stored)
            if size < LINK_FROM:
                self._copy_out(stored, file)
                return False
            linking = self._links and not private and not self._clones
            if linking and copying.linked(stored, file):
                return True
            await copying.apart(partial(self._copy_out, stored, file))
            return False

    def _copy_out(self, stored: str, file: Path, stop: threading.Event | None = None) -> None:
        with copying.opened(stored) as source, copying.created(file, 0o644) as target:
            if not (self._clones and copying.clone(source, target)):
                copying.copy(source, target, stop)

    async def get_bytes(self, path: str, *, most: int = 64 * 1024 * 1024) -> bytes:
        stored = self._place(path)
        with _Faults(self._root, "read", path):
            size = self._size(path, stored)
            if size > most:
                raise InvalidError(f"the blob {path!r} has {size} bytes, more than the {most} of a document")
            if size < CHUNK:
                return _piece(stored, 0, size)
            return await asyncio.to_thread(_piece, stored, 0, size)

    async def read(self, path: str, *, start: int = 0) -> AsyncIterator[bytes]:
        stored = self._place(path)
        with _Faults(self._root, "read", path):
            size = self._size(path, stored)
            while start < size:
                # Opened anew for each piece, so that a reader who is cancelled leaves no open file behind.
                piece = await asyncio.to_thread(_piece, stored, start, CHUNK)
                start += len(piece)
                yield piece

    def uri(self, path: str) -> str:
        return f"file://{quote(self._place(path))}"

    async def link(self, path: str, ttl_s: float) -> str:  # noqa: ARG002 - a file's URI does not expire
        with _Faults(self._root, "read", path):
            self._size(path, self._place(path))
        return self.uri(path)

    # ---- listing and deleting ---------------------------------------------------------------------------------

    async def info(self, path: str) -> BlobInfo:
        stored = self._place(path)
        with _Faults(self._root, "read", path):
            found = self._info(path, stored)
        return BlobInfo(path=path, size=found.st_size, modified_s=found.st_mtime)

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        files = folders.walk(Path(self._place(check_prefix(prefix)[:-1]))) if prefix else self._everything()
        with _Faults(self._root, "list", prefix):
            while page := await asyncio.to_thread(lambda: [*islice(files, _PAGE)]):
                for name, info in page:
                    yield BlobInfo(path=prefix + name, size=info.st_size, modified_s=info.st_mtime)

    def _everything(self) -> Iterator[tuple[str, os.stat_result]]:
        for name, info in folders.walk(self._root):
            shard, _, path = name.partition("/")
            if shard != self._tmp.name:
                yield path, info

    async def delete(self, prefix: str, *, keep: Callable[[str], bool] | None = None) -> int:
        folder = Path(self._place(check_prefix(prefix)[:-1]))
        start = len(self._prefix) + len(_shard(prefix)) + 1
        kept = (lambda file: keep(file[start:])) if keep else (lambda _: False)
        with _Faults(self._root, "delete", prefix):
            removed = await asyncio.to_thread(folders.clear, folder, kept)
            folders.prune(folder.parent, self._root / _shard(prefix))
        return removed

    # ---- places ------------------------------------------------------------------------------------

    def _place(self, path: str) -> str:
        """Where a blob lies. Raises InvalidError for what cannot name one."""
        return f"{self._prefix}{_shard(check_path(path))}/{path}"

    def _size(self, path: str, stored: str) -> int:
        return self._info(path, stored).st_size

    def _info(self, path: str, stored: str) -> os.stat_result:
        try:
            info = os.lstat(stored)
        except (FileNotFoundError, NotADirectoryError):
            info = None
        if info is None or not stat.S_ISREG(info.st_mode):
            raise NotFoundError(f"there is no blob {path!r} in {self._root}")
        return info

    def _open(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tmp.mkdir(mode=0o700, exist_ok=True)
        for name, info in folders.walk(self._tmp):
            if info.st_mtime < time.time() - STALE_S:
                (self._tmp / name).unlink(missing_ok=True)
        self._probe()

    def _probe(self) -> None:
        """Refuses a file system on which nothing can be create-only, and finds out whether this one clones."""
        with self._temporary() as (first, target), self._temporary() as (second, _):
            copying.write(target, b"probe")
            with copying.opened(first) as source:
                third = f"{second}.link"
                if not copying.linked(second, third):
                    raise UnsupportedError(
                        f"the file system of {self._root} has no hard links, which the blob store needs: "
                        "choose a folder on ext4, xfs, btrfs or the like"
                    )
                os.unlink(third)  # noqa: PTH108
                with self._temporary() as (_, other):
                    self._clones = copying.clone(source, other)


class _Faults:
    """What the operating system refuses becomes Ion's error, with the place and the reason."""

    def __init__(self, root: Path, verb: str, path: str = "") -> None:
        self._root, self._verb, self._path = root, verb, path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        verb = self._verb
        what = f"the blob {self._path!r} in {self._root}" if self._path else f"the blob store {self._root}"
        if isinstance(error, FileNotFoundError):
            if verb in _READING and error.filename and self._root in Path(error.filename).parents:
                raise NotFoundError(f"{what} was deleted just now") from error
            raise UnavailableError(f"cannot {verb} {what}: {error.filename} is not there any more") from error
        if isinstance(error, FileExistsError):
            raise ExistsError(f"cannot {verb} {what}: {error.filename2 or error.filename} exists already") from error
        if isinstance(error, NotADirectoryError):
            raise ConflictError(f"cannot {verb} {what}: a part of its path is a file, not a folder") from error
        reason = error.strerror or str(error)
        raise UnavailableError(f"cannot {verb} {what}: {reason}; free or mend that place, then retry") from error


def _shard(path: str) -> str:
    """One of 256 folders where the first part of a path is a UUID; what is no plain letter or digit goes into one."""
    letters = path[:2] if path[1:2] != "/" else path[:1]
    return letters if letters.isalnum() else "-"


def leases_work(folder: Path) -> bool:
    """Whether a file in `folder` can be leased for reading, so that any later opening for writing waits and is told."""
    probe = folder / f".lease-{uuid.uuid4().hex}"
    try:
        probe.touch(mode=0o600)
        with probe.open("rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


def _source_info(file: Path) -> os.stat_result:
    try:
        info = file.lstat()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file} to store") from error
    if not stat.S_ISREG(info.st_mode):
        raise InvalidError(f"{file} is not a regular file, so it cannot be stored")
    return info


def _check_free(final: str) -> None:
    """Before a large file is copied for nothing; what decides is the link."""
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)


def _piece(stored: str, start: int, most: int) -> bytes:
    with copying.opened(stored) as source:
        return os.pread(source, most, start)
