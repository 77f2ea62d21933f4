"""The end of a cluster: of its processes and its containers, its mounts, its control groups and its files, in this
order. Where one step fails, those after it are left undone, and the next `down` goes on there.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import runtime
from tests.cluster.processes import Started, alive, end, start
from tests.waiting import waited


def end_all(processes: Sequence[Started], folder: Path) -> None:
    """Ends what was started and removes the folder it ran in; `processes` are in the order of their start.

    Raises:
        TimeoutError: a process or a container does not end.
        OSError: something stays mounted in the folder, which is therefore kept.
    """
    known = {one.name: one for one in processes}
    if "kubelet" in known:
        end(known["kubelet"])  # first, that it starts nothing anew
    if "containerd" in known:
        _end_containers(known["containerd"], folder)
    for one in reversed(list(known.values())):
        end(one)
    _unmount(folder)
    if "kubelet" in known:
        _remove_groups()
    if folder.exists():
        shutil.rmtree(folder)


def _end_containers(containerd: Started, folder: Path) -> None:
    """Where containerd was killed they still run: it is started anew for this, for nothing else knows them."""
    if alive(containerd):
        runtime.end_containers()
        return
    anew = start(containerd.name, containerd.command, folder, containerd.environ)
    try:
        if not waited(runtime.answers, 120.0):
            raise TimeoutError(f"containerd, which is to end its containers, does not start; see its log in {folder}")
        runtime.end_containers()
    finally:
        end(anew)


def _unmount(folder: Path) -> None:
    """What is left mounted would be deleted with the folder, so nothing may be."""
    for place in reversed(mounted(folder)):
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)
    if left := mounted(folder):
        raise OSError(f"these stay mounted, unmount them and try again: {', '.join(map(str, left))}")


def mounted(folder: Path) -> Sequence[Path]:
    """The mounts in the folder, in the order that they were made in."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [place for place in places if folder in place.parents]


def _remove_groups() -> None:
    """The control groups of pods that are gone: one tree of them, or one a controller."""
    top = Path("/sys/fs/cgroup")
    for pods in (*top.glob("kubepods"), *top.glob("*/kubepods")):
        for group in sorted((one for one in pods.rglob("*") if one.is_dir()), reverse=True):
            _try_rmdir(group)
        _try_rmdir(pods)


def _try_rmdir(group: Path) -> None:
    try:
        group.rmdir()
    except OSError as error:
        print(f"the control group {group} stays: {error.strerror}", file=sys.stderr)
