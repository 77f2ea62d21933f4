"""For modules in Python: what the event brought, and what to leave.

It reads and writes the directory that every module sees, and nothing else: a module that uses it runs wherever Ion runs
modules, and by hand. It needs Python's own library only, so an image may also carry a copy of this one file.

    from ion import sdk

    for picture in sdk.inputs("*.jpg"):
        boxed = sdk.out(picture.name)
        faces = find_faces(picture, boxed)
        sdk.insight(picture.name, len(faces))
        sdk.emit("face_found", files=[boxed], data={"faces": len(faces)})

`sdk.event` is the whole event as a CloudEvents document, `sdk.data` what it says beside its files. Whatever is written
is whole or absent at every instant. What cannot be done raises `ModuleError`, with one sentence.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["ModuleError", "base", "data", "emit", "event", "inputs", "insight", "insights", "out", "subject", "write"]

event: dict[str, Any]
"""The event that started this, as a CloudEvents 1.0 document."""
data: dict[str, Any]
"""The event's key/values."""
subject: str
"""What the event is about; empty if it does not say."""


class ModuleError(Exception):
    """What was asked for is not in the directory, or cannot be left there."""


def base() -> Path:
    """The directory: `ION_DIR`, else `HANDLER_BASE_DIR`, else `/ion`. Raises ModuleError if it is not there."""
    folder = Path(os.environ.get("ION_DIR") or os.environ.get("HANDLER_BASE_DIR") or "/ion")
    if not (folder / "in").is_dir():
        raise ModuleError(f"{folder} is no directory of Ion's: set ION_DIR to one (`ion dev module prepare` makes one)")
    return folder.absolute()


def inputs(pattern: str = "*") -> list[Path]:
    """The event's files whose path below `in/data` fits, in order; `*` crosses folders."""
    top = base() / "in/data"
    found = (path for path in top.rglob("*") if not path.is_dir())
    return sorted(path for path in found if fnmatch.fnmatchcase(path.relative_to(top).as_posix(), pattern))


def out(name: str | os.PathLike[str]) -> Path:
    """Where to write the file `name` to be kept; its folder is made."""
    path = base() / "out/data" / _relative(name, "out/data")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write(name: str | os.PathLike[str], content: str | bytes) -> Path:
    """Writes the file `name` to be kept, in one step."""
    path = out(name)
    _put(path, content.encode() if isinstance(content, str) else content)
    return path


def insight(key: str, value: Any) -> None:
    """Keeps a key and value for analysis; a later value of a key takes the place of an earlier one."""
    insights({key: value})


def insights(found: Mapping[str, Any]) -> None:
    """Keeps several at once."""
    file = base() / "out/insights.json"
    try:
        kept = json.loads(file.read_bytes()) if file.exists() else {}
        if isinstance(kept, list):  # the other form: the module wrote some by itself
            kept = {pair["key"]: pair["value"] for pair in kept}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModuleError(f"what is in {file} already cannot be read: {error}") from error
    _put(file, _encoded({**kept, **found}, "an insight"))


def emit(
    event_type: str,
    *,
    files: Iterable[str | os.PathLike[str]] = (),
    inputs: Iterable[str | os.PathLike[str]] = (),
    data: Mapping[str, Any] | None = None,
    subject: str = "",
    name: str = "",
) -> Path:
    """Raises an event when the module has ended well.

    `files` were written below `out/data`, `inputs` are files of `in/data` to pass on; both as paths from there, or as
    `out` and `inputs` gave them. Without a `subject` it has that of the event that came. Ids follow from the name of
    the event's file: it is the next number, unless `name` says else.
    """
    if not event_type:
        raise ModuleError("an event needs a type: give `emit` one that the module's `emits` has")
    document: dict[str, Any] = {"type": event_type}
    for key, paths in (("files", files), ("inputs", inputs)):
        document[key] = _existing(paths, "out/data" if key == "files" else "in/data", event_type)
    document["data"] = dict(data or {})
    if subject:
        document["subject"] = subject
    return _raise(_encoded(document, f"the data of the event '{event_type}'"), name)


def __getattr__(name: str) -> Any:
    """The event is read when it is asked for, so that importing this needs no directory."""
    if name == "event":
        return _read_event()
    if name == "data":
        return _data(_read_event())
    if name == "subject":
        return _read_event().get("subject", "")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _read_event() -> dict[str, Any]:
    file = base() / "in/event.json"
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModuleError(f"the event cannot be read from {file}: {error}") from error
    return document


def _data(document: Mapping[str, Any]) -> Any:
    """Without the list of files, which Ion puts beside the data, or (`wrapped`) around it."""
    content = document.get("data")
    if document.get("wrapped"):
        return content["data"] if isinstance(content, dict) else content
    if isinstance(content, dict):
        return {key: value for key, value in content.items() if key != "files"}
    return content


def _existing(paths: Iterable[str | os.PathLike[str]], top: str, event_type: str) -> list[str]:
    if isinstance(paths, (str, os.PathLike)):
        raise ModuleError(f"the event '{event_type}' has one path where a list is meant: write [{os.fspath(paths)!r}]")
    names = [_relative(path, top) for path in paths]
    for one in names:
        if not (base() / top / one).exists():
            raise ModuleError(f"the event '{event_type}' names the file '{one}', which is not in {top}")
    return names


def _relative(path: str | os.PathLike[str], top: str) -> str:
    """A path as it is from the folder `top`, where it must lie."""
    given, folder = Path(path), base() / top
    inside = given.relative_to(folder) if given.is_absolute() and given.is_relative_to(folder) else given
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ModuleError(f"'{given}' does not lie in {top}: give a path from there, without '..'")
    return inside.as_posix()


def _encoded(value: Any, what: str) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModuleError(f"{what} cannot be written as JSON: {error}") from error


def _raise(content: bytes, name: str) -> Path:
    folder = base() / "out/events"
    folder.mkdir(exist_ok=True)
    if name:
        file = folder / f"{_relative(name, 'out/events').removesuffix('.json')}.json"
        _put(file, content)
        return file
    draft = _draft(folder, content)
    try:
        for number in count(sum(1 for _ in folder.iterdir()) + 1):
            file = folder / f"{number:06}.json"
            if _takes(file, draft):
                return file
    finally:
        draft.unlink(missing_ok=True)
    raise AssertionError  # numbers do not end


def _takes(file: Path, draft: Path) -> bool:
    """Gives the draft this name; False if another process of this module has taken it."""
    try:
        try:
            os.link(draft, file)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            file.open("xb").close()
            draft.replace(file)
    except FileExistsError:
        return False
    return True


def _put(file: Path, content: bytes) -> None:
    _draft(file.parent, content).replace(file)


def _draft(folder: Path, content: bytes) -> Path:
    """A file in `out/` beside what is kept: whoever writes may not be allowed to anywhere else."""
    draft = base() / "out" / f".{folder.name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        draft.write_bytes(content)
    except OSError as error:
        raise ModuleError(f"nothing can be written to {draft.parent}: {error.strerror}") from error
    return draft
