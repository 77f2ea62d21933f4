"""Output that breaks the contract: refused as a whole, with one sentence that names the file and the fault."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ion.handler import results

if TYPE_CHECKING:
    from tests.handler.conftest import Attempt


def listed(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in pairs]


DEEP = "[" * 5000 + "]" * 5000
DATA_DEEP = '{"type": "found", "data": {"a": ' + "[" * 300 + "]" * 300 + "}}"

EVENT_FILES: list[tuple[Any, str]] = [
    ("", "is not good JSON"),
    ("{", "is not good JSON"),
    (b"\xff\xfe", "is not good JSON"),
    ('{"type": "found", "data": {"n": NaN}}', "is not good JSON"),
    ('{"type": "found", "data": {"n": 1e999}}', "is not good JSON"),
    (DEEP, "is nested too deep"),
    (DATA_DEEP, "nested more than 256 deep"),
    ("3", "is not an event"),
    ("null", "is not an event"),
    ({}, "missing required field `type`"),
    ({"type": ""}, "names no type"),
    ({"type": 3}, "Expected `str`, got `int`"),
    ({"eventType": "found"}, "the field 'eventType', which no event has; did you mean 'type'?"),
    ({"type": "found", "file": ["a.png"]}, "the field 'file', which no event has; did you mean 'files'?"),
    ({"type": "found", "files": "a.png"}, "Expected `array`, got `str`"),
    ({"type": "found", "files": [1]}, "Expected `str`, got `int`"),
    ({"type": "found", "data": [1]}, "Expected `object`, got `array`"),
    ({"type": "found", "subject": "a\nb"}, "has a subject"),
    ({"type": "found", "subject": "a" * 1025}, "has a subject"),
    ({"type": "fond"}, "raises 'fond', which the module does not declare in its emits; did you mean 'found'?"),
    ({"type": "ion.done"}, "raises 'ion.done', but types that begin with 'ion.' are Ion's own"),
    ({"type": "found", "files": ["a.pgn"]}, "names the file 'a.pgn', which is not in out/data; did you mean 'a.png'?"),
    ({"type": "found", "files": ["sub"]}, "names the file 'sub', which is not in out/data"),
    ({"type": "found", "files": ["../a.png"]}, "names the file '../a.png', but a part of it is '..'"),
    ({"type": "found", "files": ["./../data/a.png"]}, "names the file './../data/a.png', but"),
    ({"type": "found", "files": ["/etc/passwd"]}, "names the file '/etc/passwd', but it is absolute"),
    ({"type": "found", "files": [""]}, "names the file '', but"),
    ({"type": "found", "inputs": ["in.pgn"]}, "passes on 'in.pgn', which is not in in/data; did you mean 'in.png'?"),
    ({"type": "found", "inputs": ["../data/in.png"]}, "passes on '../data/in.png', which is not in in/data"),
    ({"type": "found", "files": ["in.png"], "inputs": ["in.png"]}, "names 'in.png' twice among its files and inputs"),
    ({"type": "found", "files": ["a.png"], "inputs": ["a.png/x"]}, "names 'a.png' both as a file and as a folder"),
    (listed(("n", "1")), "names no type"),
    (listed(("eventType", "")), "names no type"),
    (listed(("eventType", 3)), "has a 'eventType' that is not text"),
    (listed(("eventType", "found"), ("files", ["a.png"])), "has a 'files' that is not text"),
    (listed(("eventType", "found"), ("subject", 1)), "has a 'subject' that is not text"),
    (listed(("eventType", "found"), ("eventType", "found")), "has the key 'eventType' twice"),
    (listed(("eventType", "found"), ("files", "a.png,nope")), "names the file 'nope', which is not in out/data"),
    (listed(("eventType", "found"), ("files", "../a.png")), "names the file '../a.png', but a part of it is '..'"),
    (listed(("eventType", "other")), "raises 'other', which the module does not declare in its emits"),
    (["eventType"], 'is not a list of {"key", "value"}'),
    ([{"key": "eventType"}], "missing required field `value`"),
]


@pytest.mark.parametrize(("written", "fault"), EVENT_FILES)
async def test_a_bad_event_file_is_refused(attempt: "Attempt", written: Any, fault: str) -> None:
    """Every fault of an event file is one sentence with the file's name; the good files beside it are not stored."""
    await attempt.brings("in.png", b"x")
    await attempt.brings("a.png/x", b"x")
    await attempt.prepare()
    for name in ("a.png", "in.png", "sub/b.png"):
        attempt.leaves(f"data/{name}", b"x")
    attempt.raises("1 good.json", files=["a.png"])
    attempt.leaves("events/2 bad.json", written if isinstance(written, str | bytes) else msgspec.json.encode(written))
    message = await attempt.refusal()
    assert message.startswith("out/events/2 bad.json ")
    assert fault in message
    assert "\n" not in message


def fifo(file: Path) -> None:
    os.mkfifo(file)


def listening(file: Path) -> None:
    os.chdir(file.parent)  # the path of a socket may be 107 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(file.name)


def linked(target: str) -> Callable[[Path], None]:
    def link(file: Path) -> None:
        file.symlink_to(target)

    return link


def folder(file: Path) -> None:
    file.mkdir()


def empty(file: Path) -> None:
    file.write_bytes(b"")


ENTRIES: list[tuple[str, Callable[[Path], None], str]] = [
    ("data/x", fifo, "out/data/x is a named pipe: only files"),
    ("data/x", listening, "out/data/x is a socket"),
    ("data/x", linked("/etc/passwd"), "out/data/x is a link to '/etc/passwd': only links"),
    ("data/x", linked("../../in/eventmeta.json"), "out/data/x is a link to '../../in/eventmeta.json'"),
    ("data/x", linked("../../in/data"), "only links to single files of in/data"),
    ("data/x", linked("../../in/data/none.png"), "only links to single files of in/data"),
    ("data/x", linked("../../in/data/../../../../etc/passwd"), "only links to single files of in/data"),
    ("data/x", linked("good.png"), "out/data/x is a link to 'good.png'"),
    ("data/x", linked("x"), "out/data/x is a link to 'x'"),
    ("data/a\nb", empty, "out/data/a\\nb cannot be kept: its name has a backslash or a control character"),
    ("data/a\\b", empty, "cannot be kept: its name has a backslash"),
    ("data/a\udcffb", empty, "out/data/a\\udcffb cannot be kept: its name is not UTF-8"),
    ("data/a\udcff", folder, "cannot be kept: its name is not UTF-8"),
    ("events/x.json", fifo, "out/events/x.json is not a file"),
    ("events/x.json", folder, "out/events/x.json is not a file"),
    ("events/x.json", linked("../../in/event.json"), "out/events/x.json is not a file"),
    ("events/x.txt", empty, "out/events/x.txt is not named NAME.json"),
    ("events/.x.json", empty, "out/events/.x.json is not named NAME.json"),
    ("events/\udcff.json", empty, "its name is not UTF-8"),
    ("insights.json", linked("/etc/passwd"), "out/insights.json is a symbolic link"),
    ("insights.json", fifo, "out/insights.json is a named pipe"),
    ("insights.json", folder, "out/insights.json is a folder"),
    ("insights.json", empty, "out/insights.json is not good JSON"),
]


@pytest.mark.parametrize(("name", "make", "fault"), ENTRIES)
async def test_what_is_no_plain_file_is_refused(
    attempt: "Attempt", name: str, make: Callable[[Path], None], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links that lead elsewhere, pipes, sockets and names that no store takes are refused, and never waited for."""
    monkeypatch.chdir(attempt.folder)
    await attempt.brings("in.png", b"x")
    await attempt.prepare()
    attempt.leaves("data/good.png", b"x")
    make(attempt.directory / "out" / name)
    message = await attempt.refusal()
    assert fault in message
    assert message.encode()


@pytest.mark.parametrize("name", ["out", "out/data", "out/events"])
async def test_a_folder_that_became_a_link_is_refused(attempt: "Attempt", name: str) -> None:
    """A module that puts a link in the place of a folder cannot have other files read."""
    place = await attempt.prepare() / name
    place.rename(attempt.folder / "moved")
    place.symlink_to(attempt.folder / "moved")
    assert await attempt.refusal() == f"{name} is a symbolic link, but has to be a folder"


async def test_a_lost_out_is_refused(attempt: "Attempt") -> None:
    """A module that deleted `out`, or the whole directory, is told so."""
    place = await attempt.prepare()
    place.rename(attempt.folder / "moved")
    assert "out is gone" in await attempt.refusal()


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("{", "is not good JSON"),
        ("3", 'is neither a list of {"key", "value"} nor an object'),
        ('[{"key": "a"}]', "missing required field `value`"),
        ('[{"key": 1, "value": ""}]', "Expected `str`, got `int`"),
        ('{"a": ' + DEEP + "}", "is nested too deep"),
    ],
)
async def test_bad_insights_are_refused(attempt: "Attempt", written: str, fault: str) -> None:
    """Every fault of the insights is one sentence with the file's name."""
    await attempt.prepare()
    attempt.leaves("insights.json", written)
    message = await attempt.refusal()
    assert message.startswith("out/insights.json ")
    assert fault in message


async def test_documents_are_not_read_beyond_their_limits(attempt: "Attempt") -> None:
    """A huge event file or insights file is refused by its size alone."""
    await attempt.prepare()
    for name, most in (("insights.json", results.INSIGHTS_MOST), ("events/e.json", results.EVENT_FILE_MOST)):
        file = attempt.leaves(name)
        with file.open("wb") as writing:
            writing.truncate(1024**4)
        assert await attempt.refusal() == f"out/{name} has {1024**4} bytes, more than the {most} it may have"
        file.unlink()


async def test_too_many_events_are_refused(attempt: "Attempt", monkeypatch: pytest.MonkeyPatch) -> None:
    """One job raises a bounded number of events, and an event names a bounded number of files."""
    await attempt.prepare()
    monkeypatch.setattr(results, "EVENTS_MOST", 3)
    for number in range(4):
        attempt.raises(f"{number}.json")
    assert (await attempt.refusal()).startswith("out/events holds more than 3 events")

    monkeypatch.setattr(results, "EVENTS_MOST", 4)
    monkeypatch.setattr(results, "FILES_MOST", 1)
    attempt.leaves("data/a")
    attempt.leaves("data/b")
    attempt.raises("2.json", files=["a", "b"])
    assert (await attempt.refusal()).startswith("out/events/2.json names 2 files; raise several events")


async def test_too_much_in_all_is_refused(attempt: "Attempt", monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and insights must fit into one manifest together."""
    await attempt.prepare()
    monkeypatch.setattr(results, "TOTAL_MOST", 1000)
    for number in range(4):
        attempt.raises(f"{number}.json", data={"k": "x" * 300})
    assert (await attempt.refusal()).startswith("out/events/3.json brings the job's events and insights over 1000")


async def test_the_first_fault_is_told_before_anything_is_stored(attempt: "Attempt") -> None:
    """Ten good events and one bad one are no results at all."""
    await attempt.prepare()
    for number in range(10):
        attempt.leaves(f"data/{number}", b"x")
        attempt.raises(f"{number}.json", files=[str(number)], data={"k": "x" * 20_000})
    attempt.raises("9.json", event_type="never")
    assert "out/events/9.json raises 'never'" in await attempt.refusal()
    assert await attempt.handler.find_manifest(attempt.job_id, 2) is None
