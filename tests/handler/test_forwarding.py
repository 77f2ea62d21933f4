"""Passing inputs on without copying them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.model.event import FileRef

if TYPE_CHECKING:
    from tests.handler.conftest import Attempt

SIZES = [10, 300_000, 3_000_000]
"""A copied input, one that may be linked, and one whose identity is noted."""


def relative(folder: Path) -> None:
    (folder / "out/data/sub").mkdir()
    (folder / "out/data/sub/new.png").symlink_to("../../../in/data/deep/a.png")


def absolute(folder: Path) -> None:
    (folder / "out/data/sub").mkdir()
    (folder / "out/data/sub/new.png").symlink_to(folder / "in/data/deep/a.png")


def hard(folder: Path) -> None:
    (folder / "out/data/sub").mkdir()
    (folder / "out/data/sub/new.png").hardlink_to(folder / "in/data/deep/a.png")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("link", [relative, absolute, hard])
async def test_a_link_passes_an_input_on(attempt: "Attempt", link: Callable[[Path], None], size: int) -> None:
    """A symbolic or hard link in `out/data` is the stored input under a new name; no blob is written or changed."""
    ref = await attempt.brings("deep/a.png", b"x" * size)
    before = attempt.blob_file(ref.blob).stat()
    link(await attempt.prepare())
    attempt.raises(files=["sub/new.png"])
    manifest = await attempt.manifest()
    expected = FileRef(path="sub/new.png", blob=ref.blob, size=ref.size, sha256=ref.sha256)
    assert manifest.files == (expected,)
    assert manifest.events[0].files == (expected,)
    assert await attempt.stored() == ["manifest.json"]
    after = attempt.blob_file(ref.blob).stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("size", SIZES)
async def test_an_event_passes_an_input_on_by_name(attempt: "Attempt", size: int) -> None:
    """`inputs` adds the stored inputs to the event, behind the files, without anything in `out/data`."""
    ref = await attempt.brings("deep/a.png", b"x" * size)
    await attempt.prepare()
    attempt.leaves("data/b.png", b"b")
    attempt.raises(files=["b.png"], inputs=["deep/a.png", "deep/a.png"])
    manifest = await attempt.manifest()
    assert [file.path for file in manifest.files] == ["b.png"]
    assert manifest.events[0].files == (manifest.files[0], ref)


async def test_a_link_as_the_container_sees_it(attempt: "Attempt") -> None:
    """A module in a container links to paths below `/ion`, absolutely or up through the root."""
    ref = await attempt.brings("a.png", b"x")
    folder = await attempt.prepare(sees="/ion")
    (folder / "out/data/one").symlink_to("/ion/in/data/a.png")
    (folder / "out/data/two").symlink_to("../../../ion/in/data/a.png")
    (folder / "out/data/three").symlink_to("/ion/out/../in/./data/a.png")
    assert [file.blob for file in (await attempt.manifest()).files] == [ref.blob] * 3


async def test_a_link_by_the_real_path(attempt: "Attempt") -> None:
    """Where the work folder is reached through a link, a module may link to the resolved path."""
    ref = await attempt.brings("a.png", b"x")
    (attempt.folder / "real").mkdir()
    (attempt.folder / "work").symlink_to("real")
    attempt.directory = attempt.folder / "work/ion"
    folder = await attempt.prepare()
    (folder / "out/data/one").symlink_to(folder.resolve() / "in/data/a.png")
    assert [file.blob for file in (await attempt.manifest()).files] == [ref.blob]


async def test_a_deleted_input_can_still_be_passed_on(attempt: "Attempt") -> None:
    """Deleting inputs is harmless: what is passed on is what is stored."""
    ref = await attempt.brings("a.png", b"x")
    folder = await attempt.prepare()
    (folder / "out/data/b.png").symlink_to("../../in/data/a.png")
    subprocess.run(["rm", "-rf", folder / "in"], check=True)  # noqa: ASYNC221 - short, and nothing else runs
    attempt.raises(inputs=["a.png"])
    manifest = await attempt.manifest()
    assert manifest.files[0].blob == ref.blob
    assert manifest.events[0].files == (ref,)


@pytest.mark.parametrize("size", SIZES)
async def test_an_input_that_was_replaced_by_a_true_copy_is_passed_on(attempt: "Attempt", size: int) -> None:
    """The executor may put a private copy in an input's place: the same content is still the same input."""
    ref = await attempt.brings("a.png", b"x" * size)
    folder = await attempt.prepare()
    (folder / "in/data/a.png").unlink()
    (folder / "in/data/a.png").write_bytes(b"x" * size)
    (folder / "out/data/b.png").symlink_to("../../in/data/a.png")
    assert (await attempt.manifest()).files[0].blob == ref.blob


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["symlink", "inputs"])
async def test_a_changed_input_is_not_passed_on(attempt: "Attempt", size: int, way: str) -> None:
    """Passing on an input that the module changed is refused: the stored one would not be what it meant."""
    await attempt.brings("a.png", b"x" * size)
    folder = await attempt.prepare()
    (folder / "in/data/a.png").unlink()
    (folder / "in/data/a.png").write_bytes(b"y" * size)
    if way == "symlink":
        (folder / "out/data/b.png").symlink_to("../../in/data/a.png")
        by = "out/data/b.png"
    else:
        attempt.raises(inputs=["a.png"])
        by = "out/events/e.json"
    assert await attempt.refusal() == (
        f"{by} passes on in/data/a.png, which the module changed: write what is new to out/data"
    )


async def test_a_changed_input_under_a_hard_link_is_an_output(attempt: "Attempt") -> None:
    """A copied input that the module wrote to and hard-linked into `out/data` is stored as what it is now."""
    await attempt.brings("a.png", b"old")
    folder = await attempt.prepare()
    (folder / "in/data/a.png").write_bytes(b"new")
    (folder / "out/data/b.png").hardlink_to(folder / "in/data/a.png")
    (ref,) = (await attempt.manifest()).files
    assert await attempt.blobs.get_bytes(ref.blob) == b"new"


async def test_a_new_file_in_an_inputs_old_inode_is_an_output(attempt: "Attempt") -> None:
    """File systems use inode numbers again: a file is an input only if its size and time are the input's too."""
    await attempt.brings("a.png", b"x" * 3_000_000)
    folder = await attempt.prepare()
    private = folder / "in/data/a.png"
    private.unlink()
    private.write_bytes(b"x" * 3_000_000)
    os.rename(private, folder / "out/data/b.png")  # noqa: PTH104 - as a module would
    (ref,) = (await attempt.manifest()).files
    assert ref.blob == f"{attempt.prefix}data/b.png"


async def test_a_large_input_that_was_moved_is_passed_on(attempt: "Attempt") -> None:
    """Moving a large input into `out/data` stores nothing again."""
    ref = await attempt.brings("a.png", b"x" * 3_000_000)
    folder = await attempt.prepare()
    (folder / "in/data/a.png").rename(folder / "out/data/b.png")
    assert (await attempt.manifest()).files[0].blob == ref.blob


async def test_a_link_and_its_input_in_one_event_are_one_file(attempt: "Attempt") -> None:
    """An event that names an input both by a link of the same path and by `inputs` carries it once."""
    ref = await attempt.brings("a.png", b"x")
    folder = await attempt.prepare()
    (folder / "out/data/a.png").symlink_to("../../in/data/a.png")
    attempt.raises(files=["a.png"], inputs=["a.png"])
    assert (await attempt.manifest()).events[0].files == (ref,)


async def test_a_later_process_can_commit(attempt: "Attempt") -> None:
    """What commit has to know of the inputs survives the process that prepared, beside the directory."""
    await attempt.brings("large", b"x" * 3_000_000)
    folder = await attempt.prepare()
    assert (attempt.folder / "ion.inputs.json").is_file()
    assert sorted(entry.name for entry in folder.iterdir()) == ["in", "out"]
