"""Disks that are full, nearly full or read-only, under the real `ion run`, and stores at odd places."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance import conftest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.outcomes import MIB, ROOT, assert_failed, assert_nothing_is_left, log_of, stored, the_job

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.errors import ExistsError
from ion.model.job import FailureClass, State
from ion.testing.conformance.executor import assignment, final
from ion.testing.local import open_local

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

Mount = Callable[..., None]


@pytest.fixture
def mount(pipeline: "Pipeline") -> Iterator[Mount]:
    """Mounts a small file system in memory at the store, or mounts it anew with other options."""
    if not ROOT:
        pytest.skip("only root can mount a file system")

    def at(place: Path, *options: str) -> str:
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr.strip()

    def mounted(*options: str) -> None:
        if not (refused := at(pipeline.store, *options)):
            return
        elsewhere = pipeline.folder / "elsewhere"
        works = not at(elsewhere, "size=1m")
        if works:
            subprocess.run(["umount", elsewhere], check=True)
        (pytest.fail if works and os.environ.get("CI") else pytest.skip)(f"nothing can be mounted: {refused}")

    yield mounted
    pipeline.close()
    if pipeline.store.is_mount():
        subprocess.run(["umount", "-l", pipeline.store], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room that is left on a file system."""
    ballast = place / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(place).free == 0
    return ballast


def test_results_wait_for_room_on_a_full_disk(pipeline: "Pipeline", mount: Mount) -> None:
    """They are committed when there is some, and the module is not run again."""
    mount("size=32m")
    ballast = pipeline.store / "ballast"
    ballast.write_bytes(b"x" * (20 * MIB))
    script = 'echo ran >> TRACES; dd if=/dev/zero of="$ION_DIR/out/data/a" bs=4k 2>/dev/null; exit 0'
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go}}}}\n")
    process = pipeline.start("run", "--event", "go")
    pipeline.until(lambda: any(pipeline.store.glob("blobs/*/*/*/*/data/a")) or process.poll() is not None)
    assert shutil.disk_usage(pipeline.store).free < MIB
    ballast.unlink()
    assert process.wait(PATIENCE_S) == 0, (pipeline.folder / "output").read_text()[-4000:]
    assert list(pipeline.traced()) == ["ran"]
    job = the_job(pipeline.jobs(), "one")
    assert (job.state, job.attempt) == (State.RELEASED, 1)
    assert set(stored(pipeline, job)["a"]) == {0}
    assert_nothing_is_left(pipeline)


async def test_a_commit_that_is_made_again_needs_no_room_for_what_is_stored(pipeline: "Pipeline", mount: Mount) -> None:
    """A large file that an earlier try has stored is found, however little room there is, and not read again."""
    mount("size=16m")
    file = pipeline.store / "a"
    file.write_bytes(b"x" * (6 * MIB))
    async with FilesystemBlobs(pipeline.store / "blobs") as blobs:
        await blobs.put("job/1/x/data/a", file, move=True)
        fill(pipeline.store)
        with pytest.raises(ExistsError):
            await blobs.put("job/1/x/data/a", file, move=True)


def test_a_module_that_meets_a_full_disk_says_so_itself(pipeline: "Pipeline", mount: Mount) -> None:
    """Its exit code is its own failure, its log is kept, and the room that it took is free again."""
    mount("size=32m")
    script = 'A="$ION_DIR/out/data/a"; dd if=/dev/zero of=$A bs=64k 2>/dev/null || { rm $A; echo no room; exit 7; }'
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go}}}}\n")
    pipeline.ion("run", "--event", "go", code=1)
    job = the_job(pipeline.jobs(), "one")
    assert_failed(job, FailureClass.MODULE, "exit code 7")
    assert b"no room" in log_of(pipeline, job)
    assert shutil.disk_usage(pipeline.store).free > 24 * MIB
    assert_nothing_is_left(pipeline)


def test_an_attempt_without_room_for_its_log_is_made_again(pipeline: "Pipeline", mount: Mount) -> None:
    """It fails as the machine's, which is written down as soon as that can be, and uses up none of its tries."""
    mount("size=32m")
    ballast = pipeline.store / "ballast"
    script = f"[ $ION_ATTEMPT != 1 ] || dd if=/dev/zero of={ballast} bs=4k; echo attempt $ION_ATTEMPT"
    pipeline.write(f"ion: 1\nmodules: {{one: {{command: [sh, -c, '{script}'], on: go, retries: 0}}}}\n")
    process = pipeline.start("run", "--event", "go", "--retries")
    output = pipeline.folder / "output"
    pipeline.until(lambda: b"has no room left on its disk" in output.read_bytes() or process.poll() is not None)
    ballast.unlink()
    assert process.wait(PATIENCE_S) == 0, output.read_text()[-4000:]
    job = the_job(pipeline.jobs(), "one")
    assert (job.state, job.attempt, job.failures) == (State.RELEASED, 2, {FailureClass.INFRASTRUCTURE: 1})
    assert b"attempt 2\n" in log_of(pipeline, job)
    assert_nothing_is_left(pipeline)


async def test_a_failed_attempt_gives_its_room_back_before_anything_else(pipeline: "Pipeline", mount: Mount) -> None:
    """When its failure is told there is room to write it down, though it had filled the disk."""
    mount("size=32m")
    async with open_local(pipeline.store) as executor:
        script = 'dd if=/dev/zero of="$ION_DIR/out/data/a" bs=64k 2>/dev/null || exit 7'
        status = await final(executor, await executor.submit(assignment(script)))
        assert status.failure is not None
        assert shutil.disk_usage(pipeline.store).free > 24 * MIB


def test_a_disk_that_is_nearly_full_is_told_and_waited_for(pipeline: "Pipeline", mount: Mount) -> None:
    """No job is started, and the run says why; with room again it goes on by itself."""
    mount("size=64m")
    ballast = pipeline.store / "ballast"
    ballast.write_bytes(b"x" * (61 * MIB))
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, -c, 'echo ran >> TRACES'], on: go}}\n")
    process = pipeline.start("run", "--event", "go")
    output = pipeline.folder / "output"
    pipeline.until(
        lambda: b"of the disk is free; no job is started" in output.read_bytes() or process.poll() is not None
    )
    assert list(pipeline.traced()) == []
    ballast.unlink()
    assert process.wait(PATIENCE_S) == 0, output.read_text()[-4000:]
    assert list(pipeline.traced()) == ["ran"]
    assert_nothing_is_left(pipeline)


@pytest.mark.parametrize("command", [("run", "--event", "go"), ("run",), ("job", "list"), ("audit",)])
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_store_that_cannot_be_written_is_told_in_one_sentence(
    pipeline: "Pipeline", mount: Mount, state: str, command: tuple[str, ...]
) -> None:
    """Full or read-only, whichever command it is; with room or rights again the store is as it was."""
    pipeline.write("ion: 1\nmodules: {one: {command: [sh, -c, 'echo ran >> TRACES'], on: go}}\n")
    mount("size=16m")
    pipeline.ion("run", "--event", "go")
    if state == "full":
        fill(pipeline.store)
    else:
        mount("remount,ro")
    said = pipeline.ion(*command, code=1, error=True).splitlines()
    assert [line for line in said if line.startswith("Error: ")] == said[-1:], said
    assert "Traceback" not in "".join(said)
    if state == "full":
        (pipeline.store / "ballast").unlink()
    else:
        mount("remount,rw")
    pipeline.ion("run", "--event", "go")
    assert list(pipeline.traced()) == ["ran", "ran"]
    assert_nothing_is_left(pipeline)


def test_a_store_may_lie_anywhere(tmp_path: Path) -> None:
    """Blanks, quotes, other scripts and signs in its path mean nothing, to the stores as to the modules."""
    folder = tmp_path / "a b  'c' \"d\" $e %20 #f ?g=h été 日本 💥"
    folder.mkdir()
    pipeline = conftest.Pipeline(folder)
    (folder / "in ö.txt").write_text("hello")
    (folder / "one.sh").write_text(
        """
        cp "$ION_DIR/in/data/in ö.txt" "$ION_DIR/out/data/ä b.txt"
        printf '{"type": "more", "files": ["ä b.txt"], "inputs": ["in ö.txt"]}' > "$ION_DIR/out/events/a.json"
        """
    )
    pipeline.write("""
ion: 1
modules:
  one: {command: [sh, one.sh], on: go, emits: more}
  two: {command: [sh, -c, 'cat "$ION_DIR"/in/data/* > "$ION_DIR/out/data/all"'], on: more}
""")
    try:
        pipeline.ion("run", "--event", "go", "--file", "in ö.txt")
        assert stored(pipeline, the_job(pipeline.jobs(), "two")) == {"all": b"hellohello"}
        pipeline.ion("audit")
        assert_nothing_is_left(pipeline)
    finally:
        pipeline.close()
