"""The end of a cluster, on the half of one: a container runtime in a cache folder of its own, with a container."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import running, runtime
from tests.cluster.busybox import BUSYBOX, busybox
from tests.cluster.ending import mounted
from tests.cluster.places import running as run_folder
from tests.cluster.processes import Started, alive, start
from tests.cluster.servers import Plan
from tests.waiting import waited


@pytest.fixture
def containerd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Runs, with one container that does not end by itself, as a cluster's state has it."""
    if why := running.unusable():
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="ion-") as short:  # a socket's path has 107 bytes at most
        monkeypatch.setenv("XDG_CACHE_HOME", short)
        run_folder().mkdir()
        plan = Plan(run_folder())
        plan.write()
        process = start("containerd", dict(plan.commands())["containerd"], run_folder())
        running.keep(running.State(processes=(process,)))
        try:
            assert waited(runtime.answers, 120.0)
            runtime.load(busybox())
            runtime.said("run", "--detach", "--snapshotter", "native", BUSYBOX, "forever", "sleep", "100000")
            yield process
        finally:
            running.down()


@pytest.mark.parametrize("killed", [False, True], ids=["in order", "after containerd was killed"])
def test_down_leaves_no_process_no_mount_and_no_file(containerd: Started, *, killed: bool) -> None:
    """Containers outlive the runtime that started them, so they are ended too where it is gone."""
    folder = run_folder()
    shims = [pid for pid in of(folder) if pid != containerd.pid]
    assert shims
    assert mounted(folder)
    if killed:
        os.kill(containerd.pid, signal.SIGKILL)
        assert waited(lambda: not alive(containerd), 120.0)
        assert set(shims) <= set(of(folder))
    running.down()
    assert of(folder) == []
    assert mounted(folder) == []
    assert not folder.exists()


def test_down_without_a_cluster_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was started, so nothing is ended."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    running.down()
    assert not run_folder().exists()


def of(folder: Path) -> list[int]:
    """The processes whose command names the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found
