"""Files, and the paths that events name, through the real commit: kept exactly as they are, or refused whole."""

import os
import posixpath
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.outputs import LARGE, SMALL, committed, contents, prepared
from tests.fuzz.profile import examples
from tests.handler.conftest import Attempt

from ion.handler.paths import PATH_BYTES
from ion.model.manifest import Manifest

names = st.sampled_from([b"a", b"b", b"sub", b"c.png", b"a b", "é💥".encode(), b"-", b"~", b"x" * 255, b".a"])
odd_names = st.sampled_from([b"a\nb", b"a\\b", b"\xff", b"\x7f", b"\x1b[31m", b"a\rb", b"\xed\xa0\x80"])
places = st.lists(names, min_size=1, max_size=3).map(b"/".join)
odd_places = st.tuples(st.lists(names, max_size=2), odd_names, st.lists(names, max_size=1)).map(
    lambda parts: b"/".join([*parts[0], parts[1], *parts[2]])
)
long_places = st.integers(200, 251).map(lambda size: b"/".join([b"y" * size] * 4))
LINKS = ("/etc/passwd", "/", "..", "../..", "nowhere", "/proc/self/environ", "/dev/zero", "\udcff")
entries = st.lists(
    st.tuples(places, st.sampled_from(["file"] * 8 + ["folder", "closed", "input", "hard", "read-only"]))
    | st.tuples(
        places | odd_places | long_places, st.sampled_from(["file", "folder", "pipe", "device", "link", "changed"])
    ),
    max_size=5,
)


class Tree:
    """Puts entries below `out/data`, and knows of each what should become of it."""

    def __init__(self, attempt: Attempt) -> None:
        self._top = attempt.directory / "out/data"
        self._inputs = attempt.directory / "in/data"
        self.kept: dict[str, bytes] = {}
        self.refused: set[bytes] = set()

    def put(self, number: int, path: bytes, kind: str) -> None:
        file = self._top / os.fsdecode(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._make(file, kind, number)
        except OSError:  # something is there already, or no file can have this name
            return
        if kind in ("pipe", "device", "link", "changed") or not storable(path):
            self.refused.add(path)
        elif kind != "folder":
            self.kept[path.decode()] = {"input": SMALL, "hard": LARGE}.get(kind, b"%d" % number)

    def _make(self, file: Path, kind: str, number: int) -> None:
        match kind:
            case "folder":
                file.mkdir()
            case "pipe":
                os.mkfifo(file)
            case "device":
                (os.mknod if os.geteuid() == 0 else os.mkfifo)(file, 0o600 | stat.S_IFCHR)
            case "input":
                file.symlink_to(os.path.relpath(self._inputs / "small.bin", file.parent))
            case "hard":
                file.hardlink_to(self._inputs / "sub/large.bin")
            case "link":
                file.symlink_to(LINKS[number % len(LINKS)])
            case "changed":  # a file among the inputs that is none
                (self._inputs / "sub/new.bin").write_bytes(b"new")
                file.symlink_to(self._inputs / "sub/new.bin")
            case _:
                with file.open("xb") as stream:
                    stream.write(b"%d" % number)
                file.chmod({"closed": 0, "read-only": 0o444}.get(kind, 0o644))


def storable(path: bytes) -> bool:
    """Whether any store takes a file of this name."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return False
    return len(path) <= PATH_BYTES and not any(letter == "\\" or letter < " " or letter == "\x7f" for letter in text)


@examples(180)
@given(entries)
async def test_any_tree_of_files_is_kept_exactly_or_refused(folder: Path, wanted: list[tuple[bytes, str]]) -> None:
    """Files of any good name and mode, and links to inputs, are kept with what is in them; one thing of another kind
    or name, anywhere, and nothing is.
    """
    async with prepared(folder) as attempt:
        tree = Tree(attempt)
        for number, (path, kind) in enumerate(wanted):
            tree.put(number, path, kind)
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert tree.refused
            assert manifest.startswith("out/data/")
            return
        assert not tree.refused
        assert await contents(attempt, manifest) == tree.kept
        own = [path for path, content in tree.kept.items() if content not in (SMALL, LARGE)]
        assert await attempt.stored() == sorted([*(f"data/{path}" for path in own), "manifest.json"])


# ---- paths in events --------------------------------------------------------------------------------------------

THERE = ("a.png", "sub/b.png", "sub/sub/ü.png", "a b, c.png")
ways = st.sampled_from(
    [
        *["{}"] * 20,
        *["./{}"] * 8,
        "././{}",
        ".//{}",
        "/{}",
        "//{}",
        "{}/",
        "{}/.",
        "{}/..",
        "../data/{}",
        "./../data/{}",
        "sub/../{}",
        "./sub/../{}",
        "out/data/{}",
        "DIRECTORY/out/data/{}",
        "DIRECTORY/in/eventmeta.json",
        "~/{}",
        "{}\0",
        " {}",
        "{} ",
        "{}\n",
        "\\{}",
        "%2e/{}",
        "file://{}",
        "{}{}",
        "",
        ".",
        "..",
        "sub",
        "small.bin",
        "../../in/data/small.bin",
    ]
)


@examples(150)
@given(st.lists(st.tuples(ways, st.sampled_from(THERE)), max_size=3))
async def test_an_event_names_files_of_its_own_and_no_others(folder: Path, said: list[tuple[str, str]]) -> None:
    """A path names a file only as it lies in `out/data`, at most behind `./`; no other way leads to a file."""
    async with prepared(folder) as attempt:
        for path in THERE:
            attempt.leaves(f"data/{path}", path.encode())
        paths = [way.replace("DIRECTORY", str(attempt.directory)).replace("{}", path) for way, path in said]
        attempt.raises(files=paths)
        plain = [posixpath.normpath(path) if path.startswith("./") else path for path in paths]
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert not set(plain) <= set(THERE)
            assert manifest.startswith("out/events/e.json names the file '")
            return
        assert set(plain) <= set(THERE)
        (event,) = manifest.events
        assert [file.path for file in event.files] == list(dict.fromkeys(plain))
        stored = {file.path: file.blob for file in manifest.files}
        assert all(file.blob == stored[file.path] for file in event.files)


# ---- at the edges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "kept"), [(PATH_BYTES, True), (PATH_BYTES + 1, False)])
async def test_a_path_may_be_as_long_as_is_said_and_no_longer(folder: Path, length: int, *, kept: bool) -> None:
    """To the byte; the sentence about one that is longer can still be read."""
    async with prepared(folder) as attempt:
        path = "/".join(["é" * 100] * 4)
        path += "/" + "z" * (length - len(path.encode()) - 1)
        attempt.leaves(f"data/{path}", b"x")
        attempt.raises(files=[path])
        manifest = await committed(attempt)
        assert isinstance(manifest, Manifest) == kept


@pytest.mark.parametrize(
    "unseen", ["\x85", "\x9b2J", "\u2028", "\u202e"], ids=["new line", "escape", "line", "reversed"]
)
@pytest.mark.parametrize("left", ["pipe", "link", "event"])
async def test_a_name_cannot_break_the_sentence_about_it(folder: Path, unseen: str, left: str) -> None:
    """Letters that end a line, or steer a terminal, are good in a file's name, and shown as escapes in a message."""
    async with prepared(folder) as attempt:
        if left == "event":
            attempt.leaves(f"events/a{unseen}.json", b"{")
        elif left == "link":
            (attempt.directory / f"out/data/a{unseen}").symlink_to("nowhere")
        else:
            os.mkfifo(attempt.directory / f"out/data/a{unseen}")
        sentence = await committed(attempt)
        assert isinstance(sentence, str)
