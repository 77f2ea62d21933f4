"""What this machine has, and what a module's processes take of it.

Memory is bounded by looking, not by RLIMIT_AS: address space is reserved freely by runtimes and GPU libraries, and says
nothing of what is used.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ion.adapters.executors.local import family
from ion.model.module import Resources

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP = Path("/sys/fs/cgroup")


def this_machine() -> Resources:
    """Processors and memory that this process may use, by affinity and control groups, and the number of gpus."""
    return Resources(cpu=_cpus(), memory=_memory(), gpu=len(gpu_devices()))


def gpu_devices() -> tuple[str, ...]:
    """The NVIDIA devices of this machine, by the numbers that CUDA_VISIBLE_DEVICES takes."""
    found = (re.fullmatch(r"nvidia(\d+)", entry.name) for entry in Path("/dev").iterdir())
    return tuple(str(number) for number in sorted(int(match[1]) for match in found if match))


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have of their own: resident pages that no file or shared segment backs."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # gone
            pages = Path(f"/proc/{pid}/statm").read_bytes().split()
            total += (int(pages[1]) - int(pages[2])) * _PAGE
    return total


def resident_fairly(pids: Iterable[int]) -> int:
    """Like `resident`, with pages that several share (after a fork) counted once. Slow: the kernel walks all pages."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # gone, or not told to us
            total += resident([pid])
            continue
        fields = dict(re.findall(r"^(Pss_Anon|Pss_Shmem|Pss):\s+(\d+) kB$", text, re.MULTILINE))
        if "Pss_Anon" in fields:
            total += (int(fields["Pss_Anon"]) + int(fields.get("Pss_Shmem", 0))) * 1024
        else:
            total += resident([pid])
    return total


def memory_of(leader: int) -> list[int]:
    """The processes whose memory counts against an attempt: its leader and all below."""
    return family.tree(leader)


class OomKills:
    """The kernel's count of processes that it killed for want of memory; asked only when one was killed."""

    def __init__(self) -> None:
        self._known = _oom_kills()

    def rose(self) -> bool:
        """Whether there were more since the last time."""
        known, self._known = self._known, _oom_kills()
        return self._known > known


def _oom_kills() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _cpus() -> float:
    quotas = [
        int(quota) / int(period)
        for quota, period in (text.split() for text in _read(_groups("cpu.max", "")) if text)
        if quota != "max"
    ]
    quotas += [
        int(quota) / int(period)
        for quota, period in zip(
            _read(_groups("cpu.cfs_quota_us", "cpu")), _read(_groups("cpu.cfs_period_us", "cpu")), strict=True
        )
        if quota and period and int(quota) > 0
    ]
    return min([float(len(os.sched_getaffinity(0))), *quotas])


def _memory() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE
    limits = _read(_groups("memory.max", "")) + _read(_groups("memory.limit_in_bytes", "memory"))
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _groups(name: str, controller: str) -> list[Path]:
    """The files of a limit for this process's control group and all above it: each of them binds."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = _CGROUP / controllers if controllers else _CGROUP
            own = root / path.strip("/")
            return [folder / name for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return []


def _read(files: Iterable[Path]) -> list[str]:
    return [_text(file) for file in files]


def _text(file: Path) -> str:
    """What is in a file, empty if it cannot be read: the limit is not set, or not of this kernel."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
