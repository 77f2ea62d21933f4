"""`ion handler` around a module of another user: who reads what, and with which rights."""

import os
import subprocess
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.handler.apart import CONTENT, READS_ALL, ROOT, Apart, apart
from tests.stores.seaweed import Seaweed

pytestmark = ROOT

LEAVES = """
umask {umask}
mkdir out/data/deep
echo mine > out/data/deep/mine.txt
echo other > out/data/other.txt
echo '{{"faces": 3}}' > out/insights.json
echo '{{"type": "found", "files": ["deep/mine.txt"], "inputs": ["a.txt"]}}' > out/events/1.json
chmod {mode} out/data/deep/mine.txt out/data/other.txt out/insights.json out/events/1.json
chmod {folders} out/data/deep
"""
STORED = {"deep/mine.txt": b"mine\n", "other.txt": b"other\n"}


@pytest.fixture
async def attempt(seaweed: Seaweed) -> AsyncIterator[Apart]:
    async with apart(seaweed.role(seaweed.fresh(f"t-{uuid.uuid4().hex}"))) as made:
        yield made


def test_commit_has_one_right_and_no_other() -> None:
    """What the other tests stand on: it is root, and may look everywhere, and change nothing of others."""
    asked = "grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status; id -u"
    told = subprocess.run([*READS_ALL, "sh", "-c", asked], check=True, capture_output=True, text=True).stdout
    reads_all = 1 << 2
    *rights, user = told.split()
    assert [int(right, 16) for right in rights[1::2]] == [reads_all] * 3
    assert user == "0"


@pytest.mark.parametrize("module", [0, 12_345, 65_534])
@pytest.mark.parametrize(
    ("umask", "mode", "folders"),
    [("077", "600", "700"), ("000", "000", "000"), ("022", "644", "755"), ("000", "200", "500")],
)
async def test_files_of_any_user_and_mode_are_stored(
    attempt: Apart, module: int, umask: str, mode: str, folders: str
) -> None:
    """Whoever the module is, and however it locks what it leaves: commit reads it, and needs to change nothing."""
    assert (await attempt.prepare()).code == 0
    await attempt.module(LEAVES.format(umask=umask, mode=mode, folders=folders), module)
    manifest = await attempt.manifest(await attempt.commit())
    assert await attempt.content(manifest) == STORED
    assert [insight.key for insight in manifest.insights] == ["faces"]
    ((mine, passed_on),) = [event.files for event in manifest.events]
    assert (mine.path, passed_on.blob) == ("deep/mine.txt", "root/1/x/data/a.txt")
    assert manifest.host == "a-node"


@pytest.mark.parametrize("module", [0, 12_345])
async def test_the_folders_of_out_may_be_locked(attempt: Apart, module: int) -> None:
    """A module that puts its own folders in the place of those it found may give nobody any right to them."""
    assert (await attempt.prepare()).code == 0
    script = """
    mkdir -m 700 scratch 2>/dev/null || true
    rmdir out/data out/events
    mkdir -p out/data out/events
    echo mine > out/data/mine.txt
    echo '{"type": "found", "files": ["mine.txt"]}' > out/events/1.json
    chmod 000 out/data out/events
    """
    await attempt.module(script, module)
    manifest = await attempt.manifest(await attempt.commit())
    assert await attempt.content(manifest) == {"mine.txt": b"mine\n"}
    assert [event.type for event in manifest.events] == ["found"]


@pytest.mark.parametrize("user", [23_456, 64_000])
async def test_one_user_may_do_it_all(attempt: Apart, user: int) -> None:
    """Where a cluster allows neither root nor a right, the three may be one user; locked files are its own then."""
    attempt.prepares = attempt.commits = user
    assert (await attempt.prepare()).code == 0
    await attempt.module(LEAVES.format(umask="077", mode="000", folders="000"), user)
    assert await attempt.content(await attempt.manifest(await attempt.commit())) == STORED


async def test_who_may_not_read_the_output_says_so(attempt: Apart) -> None:
    """A commit of another user without the right refuses what it cannot read: it never stores a part."""
    attempt.commits = 23_456
    assert (await attempt.prepare()).code == 0
    await attempt.module("umask 077; echo mine > out/data/mine.txt")
    ended = await attempt.commit()
    assert ended.code == 1
    assert ended.told is not None
    assert ended.told.failure is not None
    assert ended.told.failure.message == (
        "out/data/mine.txt cannot be read: make it readable for the user that Ion runs as"
    )
    assert await attempt.stored() == []


@pytest.mark.parametrize("module", [0, 12_345])
async def test_any_user_reads_its_inputs_and_writes_its_outputs(attempt: Apart, module: int) -> None:
    """Each folder and document of `in` can be read, nothing there can be changed by another user; `out` is open."""
    previous = os.umask(0o077)
    try:
        assert (await attempt.prepare()).code == 0
    finally:
        os.umask(previous)
    await attempt.module("cat in/eventmeta.json in/event.json in/data/a.txt > out/data/copy; touch out/x", module)
    if module:
        await attempt.module("! echo more >> in/data/a.txt && ! rm in/data/a.txt && ! touch new in/new", module)
    manifest = await attempt.manifest(await attempt.commit())
    assert (await attempt.content(manifest))["copy"].endswith(CONTENT)


async def test_a_link_out_of_the_directory_gives_nothing_away(attempt: Apart) -> None:
    """Commit may read everything, its own credential too; a module that links to that gets a refusal."""
    assert (await attempt.prepare()).code == 0
    await attempt.module(f"ln -s {attempt.files}/blobs.json out/data/stolen")
    ended = await attempt.commit()
    assert ended.told is not None
    assert ended.told.failure is not None
    assert ended.told.failure.kind == "contract"
    assert "only links to single files of in/data can be passed on" in ended.told.failure.message
    assert await attempt.stored() == []


@pytest.mark.parametrize("name", ["out", "out/data", "out/events", "out/insights.json", "out/data/deep"])
async def test_a_folder_that_became_a_link_is_refused(attempt: Apart, name: str) -> None:
    """Root of a container may put a link in the place of any folder: commit follows none."""
    assert (await attempt.prepare()).code == 0
    await attempt.module(f"rm -rf {name}; ln -s {attempt.files} {name}", 0)
    ended = await attempt.commit()
    assert ended.code == 1
    assert ended.told is not None
    assert ended.told.failure is not None
    assert ended.told.failure.kind == "contract"
    assert await attempt.stored() == []


@pytest.mark.parametrize("module", [0, 12_345])
async def test_prepare_begins_anew_after_any_module(attempt: Apart, module: int) -> None:
    """A pod whose sandbox died runs its containers again: what a module left that only it can remove is no hindrance,
    and nothing of it is in the next execution.
    """
    first = await attempt.prepare()
    await attempt.module(LEAVES.format(umask="077", mode="000", folders="700"), module)
    second = await attempt.prepare()
    assert second.code == 0, second.error
    assert first.told is not None
    assert second.told is not None
    assert first.told.execution != second.told.execution
    await attempt.module("ls -A out out/data out/events > /dev/null; echo new > out/data/new.txt", module)
    manifest = await attempt.manifest(await attempt.commit())
    assert manifest.execution == second.told.execution
    assert await attempt.content(manifest) == {"new.txt": b"new\n"}
    assert msgspec.json.encode(manifest.events) == b"[]"
