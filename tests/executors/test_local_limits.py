"""What this machine has, and modules that take more memory than they said."""

import sys
from pathlib import Path

import msgspec
import pytest

from ion.adapters.executors.local import limits
from ion.model.job import FailureClass
from ion.model.module import Resources, Retries
from ion.ports.executor import Assignment, Phase, Status
from ion.testing.conformance.executor import assignment, final
from ion.testing.local import left_of, open_local, until

MIB = 2**20
HOG = "import sys, time; keep = bytearray(b'x') * (int(sys.argv[1]) << 20); time.sleep({})"


def hog(mib: int, seconds: float) -> tuple[str, ...]:
    """A command that takes so much memory for so long."""
    return (sys.executable, "-c", HOG.format(seconds), str(mib))


def assigned(*, command: tuple[str, ...], memory: int, failed_before: int = 0, factor: float = 1.0) -> Assignment:
    retries = Retries(memory_factor=factor)
    work = assignment("", command=command, resources=Resources(memory=memory), retries=retries)
    job = msgspec.structs.replace(work.job, failures={FailureClass.MEMORY: failed_before})
    return msgspec.structs.replace(work, job=job)


async def run(folder: Path, *, command: tuple[str, ...], memory: int) -> Status:
    async with open_local(folder) as executor:
        return await final(executor, await executor.submit(assigned(command=command, memory=memory)))


async def test_a_module_over_its_memory_is_ended(tmp_path: Path) -> None:
    """The failure has its own class, and both figures."""
    status = await run(tmp_path, command=hog(300, 1000), memory=100 * MIB)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.MEMORY
    assert "its limit is 100 MiB" in status.failure.message
    assert left_of(tmp_path) == set()


async def test_the_memory_of_children_counts(tmp_path: Path) -> None:
    """A module is all of its processes."""
    program = ("sh", "-c", '"$@" & "$@" & "$@" & wait', "-", *hog(60, 1000))
    status = await run(tmp_path, command=program, memory=150 * MIB)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.MEMORY
    assert left_of(tmp_path) == set()


async def test_pages_that_forks_share_count_once(tmp_path: Path) -> None:
    """Workers forked from a large parent do not multiply it."""
    fork = HOG.format(0) + "; import os; [os.fork() or (time.sleep(1), os._exit(0)) for _ in range(4)]; time.sleep(1)"
    status = await run(tmp_path, command=(sys.executable, "-c", fork, "100"), memory=300 * MIB)
    assert status.phase is Phase.SUCCEEDED, status.failure


async def test_address_space_is_not_memory(tmp_path: Path) -> None:
    """Reserving far more than is used is what runtimes do."""
    reserve = "import mmap, time; keep = mmap.mmap(-1, 8 << 30); time.sleep(0.5)"
    status = await run(tmp_path, command=(sys.executable, "-c", reserve), memory=100 * MIB)
    assert status.phase is Phase.SUCCEEDED, status.failure


async def test_each_attempt_after_a_memory_failure_gets_more(tmp_path: Path) -> None:
    """Twice the memory after one, four times after two, where the module says so."""
    gate = tmp_path / "gate"
    command = ("sh", "-c", '"$@" & until [ -e "$0" ]; do sleep 0.1; done; kill $!', str(gate), *hog(300, 1000))
    work = assigned(command=command, memory=100 * MIB, failed_before=2, factor=2.0)
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(work)
        await until(lambda: handle in executor._attempts and executor._attempts[handle]._peak > 300 * MIB)
        gate.touch()
        status = await final(executor, handle)
    assert status.phase is Phase.SUCCEEDED, status.failure
    assert status.manifest is not None
    peak = msgspec.json.decode(status.manifest.inline)["usage"]["peak_memory"]
    assert 300 * MIB < peak < 400 * MIB


async def test_use_of_the_processor_is_counted_with_that_of_children(tmp_path: Path) -> None:
    """The manifest says how many seconds of processor the module took."""
    burn = "import os, time\nif os.fork(): os.wait()\nwhile time.process_time() < 0.2: pass"
    status = await run(tmp_path, command=(sys.executable, "-c", burn), memory=0)
    assert status.manifest is not None
    assert msgspec.json.decode(status.manifest.inline)["usage"]["cpu_s"] >= 0.4


def test_this_machine_is_found() -> None:
    """At least one processor and some memory, no more than there is."""
    found = limits.this_machine()
    assert 0 < found.cpu <= 4096
    assert 64 * MIB < found.memory < 2**50
    assert found.gpu == len(limits.gpu_devices())


@pytest.mark.parametrize(
    ("files", "cpu", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 2**30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, 0.0, 0),
    ],
)
def test_limits_of_the_control_group_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpu: float, memory: int
) -> None:
    """A container has what its group allows, not what the host has."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    free = limits.this_machine()
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    found = limits.this_machine()
    assert found.cpu == (min(cpu, free.cpu) if cpu else free.cpu)
    assert found.memory == (memory or free.memory)
