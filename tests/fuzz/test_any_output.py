"""What modules leave, through the real commit: taken exactly as it was meant, or refused whole with one sentence.

Every example has a blob store and a directory of its own on the disk. "Refused whole" means that the store holds
afterwards what it held before, with no manifest and nothing half done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.documents import TEXT, VALUES, written
from tests.fuzz.outputs import committed, contents, data_of, prepared
from tests.fuzz.profile import examples
from tests.handler.conftest import Attempt

from ion.messaging.codec import DEPTH_MOST
from ion.model.manifest import Manifest

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
