"""The log of an attempt: times, bounds, masks. Programs really write it."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.adapters.executors.log import LINE_LIMIT, TAIL, LogSpool, Mask
from ion.ports.executor import Phase
from ion.testing.conformance.executor import assignment, final, logged
from ion.testing.local import open_local

STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", re.MULTILINE)


def spooled(file: Path, pieces: list[bytes], *, limit: int = 1 << 24, secrets: tuple[str, ...] = ()) -> bytes:
    """What is in the log after these pieces."""
    spool = LogSpool.create(file, limit=limit, secrets=secrets)
    for piece in pieces:
        spool.write(piece)
    spool.close()
    assert spool.fault is None
    return file.read_bytes()


def test_every_line_begins_with_its_time(tmp_path: Path) -> None:
    """In UTC with milliseconds, once a line, also where a line arrives in pieces; the last line is ended."""
    text = spooled(tmp_path / "log", [b"one\ntw", b"o\n", b"\n", b"last"])
    assert STAMP.sub(b"", text) == b"one\ntwo\n\nlast\n"
    assert len(STAMP.findall(text)) == 4


def test_a_log_that_is_too_long_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    """Between them stands how much is missing, and the whole is no longer than its limit."""
    lines = [b"line %d\n" % number for number in range(20_000)]
    text = spooled(tmp_path / "log", lines, limit=200_000)
    assert len(text) <= 200_000
    bare = STAMP.sub(b"", text)
    assert bare.startswith(b"line 0\nline 1\n")
    assert bare.endswith(b"line 19998\nline 19999\n")
    left_out = int(re.findall(rb"\[ion\] (\d+) bytes of the log were left out here", bare)[0])
    whole = sum(len(line) + 25 for line in lines)
    assert abs(whole - (len(text) - 100) - left_out) < 200


def test_a_log_that_just_fits_is_whole(tmp_path: Path) -> None:
    """Nothing is cut from a log that is shorter than its limit."""
    lines = [b"line %d\n" % number for number in range(3_000)]
    text = spooled(tmp_path / "log", lines, limit=sum(len(line) + 25 for line in lines) + 200)
    assert STAMP.sub(b"", text) == b"".join(lines)


def test_an_endless_line_is_cut(tmp_path: Path) -> None:
    """At 64 KiB, each part with its time."""
    text = spooled(tmp_path / "log", [b"x" * 4096] * 64)
    assert all(len(line) <= LINE_LIMIT + 100 for line in text.splitlines())
    assert text.count(b"x") == 4096 * 64


@given(
    st.lists(st.text("ab*\n", min_size=1, max_size=6), min_size=1, max_size=3),
    st.lists(st.text("ab\n", max_size=12), max_size=8),
)
def test_no_secret_is_ever_written_however_it_arrives(secrets: list[str], pieces: list[str]) -> None:
    """Masked in one piece or in many, the text is the same, and holds no value."""
    mask, whole = Mask(secrets), Mask(secrets)
    text = b"".join([*(mask.feed(piece.encode()) for piece in pieces), mask.flush()])
    assert text == whole.feed("".join(pieces).encode()) + whole.flush()
    for secret in secrets:
        assert "*" in secret or secret.encode() not in text


def test_text_that_is_no_secret_is_written_at_once() -> None:
    """Only what may be the beginning of a value waits for more, so a log can be followed."""
    mask = Mask(["swordfish"])
    assert mask.feed(b"hello\nsword") == b"hello\n"
    assert mask.feed(b"s\nswordfish\n") == b"swords\n***\n"


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    """As programs print a key."""
    mask = Mask(["-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n"])
    assert mask.feed(b"> abcdefgh\n") + mask.flush() == b"> ***\n"


async def test_a_flood_of_output_is_kept_within_its_limit(tmp_path: Path) -> None:
    """200 MB pass, the log stays at its limit, and the end of it is there."""
    async with open_local(tmp_path) as executor:
        script = "head -c 200000000 /dev/zero | tr '\\\\0' 'x' | fold -w 99; echo the end"
        handle = await executor.submit(assignment(script, log_limit=1 << 20))
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED
        text = await logged(executor, handle)
        assert (1 << 20) - 2 * TAIL < len(text) <= 1 << 20
        assert text.endswith(b"the end\n")


async def test_one_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    """The dispatcher stays small while a module writes 100 MB without a line's end."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment("head -c 100000000 /dev/zero; echo; echo the end"))
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED
        assert (await logged(executor, handle)).endswith(b"the end\n")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


async def test_both_outputs_keep_their_order(tmp_path: Path) -> None:
    """Standard output and error share one pipe."""
    program = "import os\nfor n in range(500): os.write(1 + n % 2, b'%d\\n' % n)"
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment("", command=(sys.executable, "-c", program)))
        await final(executor, handle)
        assert STAMP.sub(b"", await logged(executor, handle)).split() == [b"%d" % number for number in range(500)]


async def test_secrets_do_not_reach_the_log(tmp_path: Path) -> None:
    """Written in two pieces with a pause between, in full, and inside a word."""
    script = 'printf "key=sword"; sleep 0.1; echo "fish."; echo "$KEY-$KEY"; echo "$KEY" >&2'
    async with open_local(tmp_path, secrets=lambda name: "swordfish" if name == "pond" else None) as executor:
        handle = await executor.submit(assignment(script, secrets={"KEY": "pond"}))
        await final(executor, handle)
        assert STAMP.sub(b"", await logged(executor, handle)) == b"key=***.\n***-***\n***\n"


@pytest.mark.parametrize("limit", [0, 1, 500, 5000])
def test_a_small_limit_still_gives_a_log(tmp_path: Path, limit: int) -> None:
    """However small it is set, some of the head and of the end is kept."""
    text = STAMP.sub(b"", spooled(tmp_path / "log", [b"line %d\n" % n for n in range(9999)], limit=limit))
    assert text.startswith(b"line 0\n")
    assert text.endswith(b"line 9998\n")
