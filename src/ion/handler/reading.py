"""Opening what a module left behind, without trusting it.

No symbolic link is followed and no pipe is waited for. A file without permissions is given some: a module may have any
umask, and commit runs as root, as the same user, or as who may read everything and change nothing.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress

from ion.errors import ContractError
from ion.handler.paths import shown

DOCUMENT = 64 * 1024
"""Up to so many bytes are read in one piece."""
HASH_INLINE = 1024 * 1024
"""Up to so many bytes are hashed at once, in about a millisecond; more in a thread."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}


def kind(info: os.stat_result) -> str:
    """What an entry of a folder is, in words."""
    return _KINDS.get(stat.S_IFMT(info.st_mode), "of a strange kind")


def folder_exists(directory: str, name: str) -> bool:
    """Whether the module left this folder, readable now. Raises ContractError if it is something else."""
    try:
        info = os.lstat(f"{directory}/{name}")
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        raise ContractError(f"{name} is {kind(info)}, but has to be a folder")
    enter(f"{directory}/{name}", info)
    return True


def enter(folder: str, info: os.stat_result) -> None:
    """Makes sure that a folder can be listed and its files reached."""
    us = os.geteuid()
    if info.st_mode & stat.S_IRWXU != stat.S_IRWXU and us in (0, info.st_uid):
        with suppress(PermissionError) if us != info.st_uid else nullcontext():  # root of a pod has no such right
            os.chmod(folder, info.st_mode | stat.S_IRWXU)  # noqa: PTH101 - strings here: this is on every job's way


def listed(folder: str, name: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """The entries of a folder that was entered. Raises ContractError; `name` is what it calls the folder."""
    try:
        return os.scandir(folder)
    except PermissionError as error:
        raise ContractError(
            f"{shown(name)} cannot be listed: make it readable for the user that Ion runs as"
        ) from error


async def sha256(file: str, size: int, name: str) -> str:
    """The hash of a regular file in hexadecimal; `name` is what a message calls it. Raises ContractError."""
    if size <= DOCUMENT:
        return hashlib.sha256(_content(file, DOCUMENT + 1, name)).hexdigest()
    if size <= HASH_INLINE:
        return _hash(file, name)
    return await asyncio.to_thread(_hash, file, name)


def document(file: str, name: str, most: int) -> bytes | None:
    """A small file's content, None if there is no such file. Raises ContractError; `name` is what it calls it."""
    try:
        info = os.lstat(file)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        raise ContractError(f"{name} is {kind(info)}, but has to be a file of its own")
    if info.st_size > most:
        raise ContractError(f"{name} has {info.st_size} bytes, more than the {most} it may have")
    return _content(file, info.st_size, name)


def _content(file: str, most: int, name: str) -> bytes:
    descriptor = _opened(file, name)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _hash(file: str, name: str) -> str:
    with open(_opened(file, name), "rb", buffering=0) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _opened(file: str, name: str) -> int:
    try:
        return _descriptor(file)
    except PermissionError as error:
        raise ContractError(f"{shown(name)} cannot be read: make it readable for the user that Ion runs as") from error


def _descriptor(file: str) -> int:
    try:
        return os.open(file, _FLAGS)
    except PermissionError:
        os.chmod(file, 0o600)  # noqa: PTH101 - as above
        return os.open(file, _FLAGS)
