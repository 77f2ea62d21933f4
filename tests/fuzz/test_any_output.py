"""What modules leave, through the real commit: taken exactly as it was meant, or refused whole with one sentence.

Every example has a blob store and a directory of its own on the disk. "Refused whole" means that the store holds
afterwards what it held before, with no manifest and nothing half done.
"""

import json
import os
import posixpath
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.documents import ODD, TEXT, VALUES, damaged, keyed, written
from tests.fuzz.profile import examples, one_sentence
from tests.handler.conftest import Attempt

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.errors import ContractError
from ion.handler.paths import PATH_BYTES
from ion.handler.results import EVENT_FILE_MOST, INSIGHTS_MOST
from ion.messaging.codec import DEPTH_MOST
from ion.model.event import Event
from ion.model.ids import output_event_id
from ion.model.manifest import Manifest

SMALL, LARGE = b"small", b"large" * 60_000
"""Inputs, one that is copied into the module's directory and one that is linked."""


MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where that can be: a thousand stores are made and removed, which a busy disk does slowly."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("outputs")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="ion-fuzz-") as made:
        yield Path(made)


@asynccontextmanager
async def prepared(folder: Path) -> AsyncIterator[Attempt]:
    """An attempt in a new place, with two inputs, whose module has not written anything yet."""
    place = Path(tempfile.mkdtemp(dir=folder))
    async with FilesystemBlobs(place / "blobs", links=True) as blobs:
        (place / "work").mkdir()
        attempt = Attempt(blobs, place / "work")
        await attempt.brings("small.bin", SMALL)
        await attempt.brings("sub/large.bin", LARGE)
        await attempt.prepare()
        yield attempt
    shutil.rmtree(place)


async def committed(attempt: Attempt) -> Manifest | str:
    """The manifest, or the sentence with which everything was refused, after which nothing is visible."""
    before = held(attempt)
    try:
        return await attempt.manifest()
    except ContractError as error:
        assert held(attempt) == before
        assert await attempt.handler.find_manifest(attempt.job_id, 2) is None
        return one_sentence(error)


def held(attempt: Attempt) -> set[str]:
    """Every file and folder of the store, half-made ones included."""
    root = attempt.folder.parent / "blobs"
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def contents(attempt: Attempt, manifest: Manifest) -> dict[str, bytes]:
    """The stored files by path, each as its entry says that it is."""
    found = {}
    for file in manifest.files:
        found[file.path] = await attempt.blobs.get_bytes(file.blob)
        assert len(found[file.path]) == file.size
    return found


# ---- event files and insights -----------------------------------------------------------------------------------

fields = st.sampled_from(["type", "files", "inputs", "subject", "data", "eventType", "key", "value", "Type"])
paths = st.sampled_from(
    ["a.png", "sub/b.png", "./a.png", "../a.png", "/etc/passwd", "sub", "", "a.png,sub/b.png", "nope"]
)
good_objects = st.fixed_dictionaries(
    {"type": st.sampled_from(["found", "nothing_found"])},
    optional={
        "files": st.lists(st.sampled_from(["a.png", "sub/b.png", "./a.png"]), max_size=3),
        "inputs": st.lists(st.sampled_from(["small.bin", "sub/large.bin"]), max_size=2),
        "subject": st.sampled_from(["", "a subject", "é"]),
        "data": st.dictionaries(TEXT, VALUES, max_size=3),
    },
)
good_pairs = st.tuples(
    st.sampled_from(["found", "nothing_found"]),
    st.none() | st.sampled_from(["a.png", " a.png , sub/b.png", "", ",", "./a.png"]),
    st.dictionaries(TEXT, VALUES, max_size=3),
).map(
    lambda said: [
        {"key": "eventType", "value": said[0]},
        *([] if said[1] is None else [{"key": "files", "value": said[1]}]),
        *(
            {"key": key, "value": value}
            for key, value in said[2].items()
            if key not in ("eventType", "files", "subject")
        ),
    ]
)
near = st.lists(
    st.tuples(fields, VALUES | st.lists(paths, max_size=2) | st.sampled_from(["found", "ion.x"])), max_size=5
)
contents_of_events = (
    (good_objects | good_pairs).map(written)
    | damaged((good_objects | good_pairs).map(written))
    | near.map(keyed)
    | st.lists(near.map(dict), max_size=3).map(written)
    | VALUES.map(written)
    | st.sampled_from(ODD)
    | st.builds(lambda odd: b'{"type":"found","data":{"k":%s}}' % (odd or b'""'), st.sampled_from(ODD))
)


def meant(raw: bytes) -> tuple[str, list[str], list[str], str, Any]:
    """Type, files, inputs, subject and data as another reader of JSON finds them in an event file."""
    document = json.loads(raw)
    if isinstance(document, dict):
        said = document.get("files", []), document.get("inputs", [])
        return document["type"], *said, document.get("subject", ""), document.get("data", {})
    data = {pair["key"]: pair["value"] for pair in document}
    kind, listed = data.pop("eventType"), data.pop("files", "")
    return kind, [path.strip() for path in listed.split(",") if path.strip()], [], data.get("subject", ""), data


@examples(250)
@given(contents_of_events)
async def test_any_event_file_is_an_event_as_meant_or_one_sentence(folder: Path, raw: bytes) -> None:
    """Whatever an event file holds: the event, files and data that another reader finds in it, or a refusal."""
    async with prepared(folder) as attempt:
        attempt.leaves("data/a.png", b"a")
        attempt.leaves("data/sub/b.png", b"b")
        attempt.leaves("events/1 é.json", raw)
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert manifest.startswith("out/events/1 é.json ")
            return
        (event,) = manifest.events
        kind, files, inputs, subject, data = meant(raw)
        assert (event.id, event.type) == (output_event_id(attempt.job_id, "1 é.json"), kind)
        assert event.subject == (subject or attempt.event.subject)
        named = [*dict.fromkeys(posixpath.normpath(path) for path in files), *dict.fromkeys(inputs)]
        assert [file.path for file in event.files] == named
        assert await data_of(attempt, event) == data
        assert await contents(attempt, manifest) == {"a.png": b"a", "sub/b.png": b"b"}


async def data_of(attempt: Attempt, event: Event) -> Any:
    return json.loads(await attempt.blobs.get_bytes(event.dataref)) if event.dataref else event.data


contents_of_insights = (
    st.dictionaries(TEXT, VALUES, max_size=4).map(written)
    | st.lists(st.fixed_dictionaries({"key": TEXT, "value": VALUES}), max_size=4).map(written)
    | damaged(st.dictionaries(TEXT, VALUES, max_size=4).map(written))
    | VALUES.map(written)
    | st.sampled_from(ODD)
)


@examples(120)
@given(contents_of_insights)
async def test_any_insights_are_taken_as_meant_or_one_sentence(folder: Path, raw: bytes) -> None:
    """Every key with its value, texts as they are and all else beside its JSON text; or a refusal."""
    async with prepared(folder) as attempt:
        attempt.leaves("insights.json", raw)
        manifest = await committed(attempt)
        if isinstance(manifest, str):
            assert manifest.startswith("out/insights.json ")
            return
        document = json.loads(raw)
        said = document.items() if isinstance(document, dict) else [(pair["key"], pair["value"]) for pair in document]
        assert [one.key for one in manifest.insights] == [key for key, _ in said]
        for insight, (_, value) in zip(manifest.insights, said, strict=True):
            if isinstance(value, str):
                assert (insight.value, insight.typed) == (value, None)
            else:
                assert json.loads(insight.value) == insight.typed == value


# ---- files ------------------------------------------------------------------------------------------------------

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


# ---- all of it --------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, bytes]] = {
    "a type of nobody": ("events/9.json", b'{"type":"never"}'),
    "a file of nobody": ("events/0.json", b'{"type":"found","files":["never"]}'),
    "an input of nobody": ("events/5.json", b'{"type":"found","inputs":["never"]}'),
    "deep data": ("events/d.json", b'{"type":"found","data":{"a":%s}}' % (b"[" * DEPTH_MOST + b"]" * DEPTH_MOST)),
    "a field too many": ("events/f.json", b'{"type":"found","Data":{}}'),
    "no end": ("events/n.json", b'{"type":"found"'),
    "another name": ("events/e.txt", b'{"type":"found"}'),
    "a hidden name": ("events/.e.json", b'{"type":"found"}'),
    "a name of no text": ("events/\udcff.json", b'{"type":"found"}'),
    "a file of no text": ("data/\udcff", b""),
    "bad insights": ("insights.json", b"[1]"),
    "deep insights": ("insights.json", b"[" * 1_000 + b"]" * 1_000),
}
bundles = st.lists(
    st.tuples(
        st.sampled_from(["found", "nothing_found"]),
        st.lists(st.integers(0, 4), max_size=3),
        st.dictionaries(TEXT, st.integers() | st.text(max_size=5), max_size=2),
        st.sampled_from([0, 0, 20_000]),
        st.booleans(),
    ),
    max_size=4,
)


def leave(attempt: Attempt, files: Sequence[bytes], said: Sequence[tuple[str, list[int], Any, int, bool]]) -> None:
    """Files, and an event file for each thing said, in either form."""
    for number, content in enumerate(files):
        attempt.leaves(f"data/{number}.bin", content)
    for number, (kind, named, data, padding, listed) in enumerate(said):
        names = [f"{one}.bin" for one in named if one < len(files)]
        whole = {**data, "padding": "x" * padding}
        if listed:
            pairs = {"eventType": kind, "files": ",".join(names), **whole}
            attempt.leaves(f"events/{number}.json", written([{"key": k, "value": v} for k, v in pairs.items()]))
        else:
            attempt.leaves(f"events/{number}.json", written({"type": kind, "files": names, "data": whole}))


@examples(80)
@given(st.lists(st.binary(max_size=20), max_size=5), bundles, st.dictionaries(TEXT, VALUES, max_size=2))
async def test_good_output_is_kept_whole(folder: Path, files: list[bytes], said: Any, insights: Any) -> None:
    """Every file, every event with its files and its data, every insight; and nothing else is stored."""
    insights = {key: value for key, value in insights.items() if b"\\ud" not in written([key, value])}
    said = [one for one in said if not {"eventType", "files", "subject", "padding"} & one[2].keys()]
    async with prepared(folder) as attempt:
        leave(attempt, files, said)
        attempt.leaves("insights.json", written(insights))
        manifest = await committed(attempt)
        assert isinstance(manifest, Manifest), manifest
        assert await contents(attempt, manifest) == {f"{n}.bin": content for n, content in enumerate(files)}
        assert len(manifest.events) == len(said)
        for event, (kind, named, data, padding, _) in zip(manifest.events, said, strict=True):
            assert event.type == kind
            assert [f.path for f in event.files] == list(dict.fromkeys(f"{n}.bin" for n in named if n < len(files)))
            assert await data_of(attempt, event) == {**data, "padding": "x" * padding}
        assert {one.key for one in manifest.insights} == insights.keys()
        spilled = sum(bool(event.dataref) for event in manifest.events)
        assert len(await attempt.stored()) == len(files) + spilled + 1


@examples(80)
@given(st.lists(st.binary(max_size=20), max_size=5), bundles, st.sampled_from(sorted(FAULTS)))
async def test_one_fault_beside_anything_good_refuses_all(
    folder: Path, files: list[bytes], said: Any, fault: str
) -> None:
    """The sentence is about the file that is wrong, however much is right beside it."""
    said = [one for one in said if not {"eventType", "files", "subject", "padding"} & one[2].keys()]
    name, content = FAULTS[fault]
    async with prepared(folder) as attempt:
        leave(attempt, files, said)
        attempt.leaves(name, content)
        sentence = await committed(attempt)
        assert isinstance(sentence, str)
        assert sentence.startswith(f"out/{name.replace(chr(0xDCFF), chr(92) + 'udcff')} ")


# ---- at the edges -----------------------------------------------------------------------------------------------


async def test_documents_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    """To the byte, for events and for insights."""
    event, insights = b'{"type":"found","data":{"k":"%s"}}', b'{"k":"%s"}'
    for name, document, most in (("events/e.json", event, EVENT_FILE_MOST), ("insights.json", insights, INSIGHTS_MOST)):
        for more in (0, 1):
            async with prepared(tmp_path) as attempt:
                attempt.leaves(name, document % (b"x" * (most - len(document % b"") + more)))
                assert (attempt.directory / "out" / name).stat().st_size == most + more
                assert isinstance(await committed(attempt), str) == bool(more)


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


@pytest.mark.parametrize("depth", [DEPTH_MOST - 1, DEPTH_MOST, 1_000, 100_000])
async def test_data_is_as_deep_as_is_said_and_no_deeper(folder: Path, depth: int) -> None:
    """The object itself is the first level; what is deeper is refused before it could fill a stack."""
    async with prepared(folder) as attempt:
        attempt.leaves("events/e.json", b'{"type":"found","data":{"a":%s}}' % (b"[" * depth + b"]" * depth))
        assert isinstance(await committed(attempt), Manifest) == (depth < DEPTH_MOST)


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


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("events/e.json", b'{"type":"found","files":["a"],"files":[]}'),
        ("events/e.json", b'{"type":"found","type":"nothing_found"}'),
        ("events/e.json", b'{"type":"found","data":{"k":1,"k":2}}'),
        ("insights.json", b'{"k":1,"k":2}'),
    ],
)
async def test_a_key_that_stands_twice_in_an_object_is_refused(folder: Path, name: str, raw: bytes) -> None:
    """As it is in the list form: which of the two was meant nobody knows, and taking one loses the other."""
    async with prepared(folder) as attempt:
        attempt.leaves("data/a")
        attempt.leaves(name, raw)
        assert "twice" in str(await committed(attempt))
