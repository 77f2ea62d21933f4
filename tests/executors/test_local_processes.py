"""Modules that behave badly as processes: real shells and Pythons, and nothing of them may be left."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.executors.daemons import bare_daemon, end_daemons, leaving_a_bare_daemon, lives

from ion.adapters.executors import ends
from ion.adapters.executors.local import LocalExecutor, family, limits
from ion.adapters.executors.local.marks import WearingDraft, mark_of
from ion.adapters.executors.local.orphans import Orphans, become_subreaper, reap
from ion.errors import UnavailableError, UnsupportedError
from ion.model.job import FailureClass
from ion.model.module import Mount, Resources
from ion.ports.executor import Handle, Phase, Status
from ion.testing.conformance.executor import assignment, final, logged, logs_line
from ion.testing.local import left_of, open_local, until

PYTHON = (sys.executable, "-c")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After every test, no process has anything to do with its attempts."""
    yield
    end_daemons(tmp_path)
    assert left_of(tmp_path) == set()


async def run(folder: Path, script: str, **module: Any) -> tuple[Status, bytes]:
    """How an attempt ends, and its log."""
    async with open_local(folder) as executor:
        handle = await executor.submit(assignment(script, **module))
        status = await final(executor, handle)
        return status, await logged(executor, handle)


def time_is_up(executor: LocalExecutor, handle: Handle) -> None:
    """What the timer of an attempt does; when, no machine's speed decides."""
    attempt = executor._attempts[handle]
    attempt.stop(ends.late(attempt._module), attempt.grace_s)


async def test_a_module_that_ignores_sigterm_dies_after_its_grace(tmp_path: Path) -> None:
    """A time-out is a time-out whatever the module thinks of it, for its children as well."""
    script = 'trap "" TERM; sh -c "trap \'\' TERM; sleep 1000" & echo begun; while :; do sleep 1; done'
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment(script, grace_s=0.2))
        await logs_line(executor, handle, b"begun")
        time_is_up(executor, handle)
        status = await final(executor, handle)
        assert status.failure is not None
        assert status.failure.kind is FailureClass.TIMEOUT


async def test_a_module_that_stopped_itself_is_ended(tmp_path: Path) -> None:
    """A stopped process gets its SIGTERM too, and dies within the grace."""
    status, _ = await run(tmp_path, "kill -STOP $$; exit 0", timeout_s=0.3, grace_s=20.0)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.TIMEOUT


LATE = """
echo $$ > "$1"
while :; do echo more >> "$2/out/data/late"; sleep 0.05; done
"""


@pytest.mark.parametrize(
    "escape",
    [
        'sh "$LATE" "$UP" "$ION_DIR" &',
        'setsid -f sh "$LATE" "$UP" "$ION_DIR"',
        'setsid -f setsid -f sh "$LATE" "$UP" "$ION_DIR" >/dev/null 2>&1',
        'cd "$ION_DIR/in"; env -i PATH="$PATH" setsid -f sh "$LATE" "$UP" "$ION_DIR" >/dev/null 2>&1',
        'cd /; env -i PATH="$PATH" setsid -f sh "$LATE" "$UP" "$ION_DIR"',
    ],
    ids=["background", "session", "session-of-a-session", "no-environment-but-there", "no-environment-but-printing"],
)
async def test_what_a_module_leaves_behind_writes_nothing_later(tmp_path: Path, escape: str) -> None:
    """A daemon of the module's is ended before the results are stored, however it has left."""
    late, up = tmp_path / "late.sh", tmp_path / "up"
    late.write_text(LATE)
    script = f'({escape})\nwhile [ ! -s "$UP" ]; do sleep 0.01; done; echo done'
    status, log = await run(tmp_path, script, env={"LATE": str(late), "UP": str(up)}, grace_s=0.5)
    assert (status.phase, b"done\n" in log) == (Phase.SUCCEEDED, True)
    assert family.look(int(up.read_text())) is None


@pytest.mark.parametrize(
    ("script", "kind"), [("exit 0", None), ("exit 3", FailureClass.MODULE)], ids=["done", "failed"]
)
async def test_a_daemon_that_shed_everything_ends_with_its_attempt(
    tmp_path: Path, script: str, kind: FailureClass | None
) -> None:
    """Session, parents, environment, folder and files are gone, and it is ended like any other, however it ended."""
    up = tmp_path / "up.pid"
    status, _ = await run(tmp_path, **leaving_a_bare_daemon(script, up))
    assert (status.failure.kind if status.failure else None) is kind
    assert family.look(int(up.read_text())) is None


async def cancelled(executor: LocalExecutor, handle: Handle) -> None:
    await executor.cancel(handle)


async def late(executor: LocalExecutor, handle: Handle) -> None:
    time_is_up(executor, handle)


@pytest.mark.parametrize(("end", "kind"), [(cancelled, FailureClass.LOST), (late, FailureClass.TIMEOUT)])
async def test_a_daemon_that_shed_everything_ends_when_the_attempt_is_ended(
    tmp_path: Path, end: Callable[[LocalExecutor, Handle], Awaitable[None]], kind: FailureClass
) -> None:
    """It lives until then."""
    up = tmp_path / "up.pid"
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment(**leaving_a_bare_daemon("echo begun; sleep 1000", up)))
        await logs_line(executor, handle, b"begun")
        daemon = int(up.read_text())
        assert lives(daemon)
        await end(executor, handle)
        failure = (await final(executor, handle)).failure
        assert failure is not None
        assert failure.kind is kind
        assert family.look(daemon) is None


async def test_a_daemon_that_was_there_before_the_mark_ends_too(tmp_path: Path) -> None:
    """However quick a program is: what came of it at first has the draft, and it is known whose."""
    become_subreaper()
    up, mark, orphans = tmp_path / "up.pid", mark_of(f"job-1-0123abcd-{'ab' * 16}"), Orphans()
    with WearingDraft(mark):
        leader = await asyncio.create_subprocess_exec(*bare_daemon(up), env={}, start_new_session=True)
    await leader.wait()
    await until(up.exists)
    daemon = int(up.read_text())
    await until(lambda: daemon in family.adopted())
    await orphans.end(str(tmp_path), "", mark=mark + 1, leader=leader.pid)
    await orphans.end(str(tmp_path), "", mark=mark, leader=daemon)
    assert lives(daemon)
    await orphans.end(str(tmp_path), "", mark=mark, leader=leader.pid)
    assert family.look(daemon) is None


async def test_a_daemon_lives_as_long_as_its_own_attempt(tmp_path: Path) -> None:
    """The end of another attempt, which leaves a daemon too, does not concern it."""
    script = f'echo begun; until [ -e "{tmp_path}/go" ]; do sleep 0.01; done'
    async with open_local(tmp_path) as executor:
        first = await executor.submit(assignment(**leaving_a_bare_daemon(script, tmp_path / "first.pid")))
        await logs_line(executor, first, b"begun")
        second = await executor.submit(assignment(**leaving_a_bare_daemon("exit 0", tmp_path / "second.pid")))
        assert (await final(executor, second)).phase is Phase.SUCCEEDED
        daemons = [int((tmp_path / name).read_text()) for name in ("first.pid", "second.pid")]
        assert list(map(lives, daemons)) == [True, False]
        (tmp_path / "go").touch()
        assert (await final(executor, first)).phase is Phase.SUCCEEDED
        assert list(map(lives, daemons)) == [False, False]


async def test_a_daemon_that_keeps_the_outputs_open_holds_nothing_up(tmp_path: Path) -> None:
    """The attempt ends when its processes do, not when the pipe closes."""
    status, log = await run(tmp_path, "setsid sleep 1000 & echo said")
    assert (status.phase, b"said\n" in log) == (Phase.SUCCEEDED, True)


async def test_a_module_that_closes_its_outputs_runs_on(tmp_path: Path) -> None:
    """A closed output is not an end."""
    script = 'echo said; exec >&- 2>&-; sleep 0.3; : > "$ION_DIR/out/data/a"'
    status, _ = await run(tmp_path, script)
    assert status.manifest is not None
    assert status.manifest.files == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("no-such-program",), "'no-such-program' of module probe (or its interpreter) does not exist"),
        (("sh", "-c", "nul\0"), "embedded null byte"),
    ],
)
async def test_a_command_that_cannot_start_fails_for_good(
    tmp_path: Path, command: tuple[str, ...], sentence: str
) -> None:
    """Another attempt would not help, so it is a contract failure that names the command."""
    status, _ = await _without_log(tmp_path, command=command)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.CONTRACT
    assert sentence in status.failure.message


async def test_a_program_that_may_not_be_executed_is_refused(tmp_path: Path) -> None:
    """The sentence says how to make it executable."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    status, _ = await _without_log(tmp_path, command=(str(program),))
    assert status.failure is not None
    assert "make it executable" in status.failure.message


async def test_a_script_without_an_interpreter_line_is_refused(tmp_path: Path) -> None:
    """The sentence says what to write."""
    program = tmp_path / "program"
    program.write_text("echo hello\n")
    program.chmod(0o755)
    status, _ = await _without_log(tmp_path, command=(str(program),))
    assert status.failure is not None
    assert "begin it with a line such as #!/bin/sh" in status.failure.message


async def test_a_working_directory_that_is_missing_fails_for_good(tmp_path: Path) -> None:
    """It is named, apart from the command."""
    status, _ = await _without_log(tmp_path, workdir=str(tmp_path / "gone"))
    assert status.failure is not None
    assert str(tmp_path / "gone") in status.failure.message


async def _without_log(folder: Path, **module: Any) -> tuple[Status, Handle]:
    async with open_local(folder) as executor:
        handle = await executor.submit(assignment("", **module))
        return await final(executor, handle), handle


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("kill -SEGV $$", FailureClass.MODULE, "killed by SIGSEGV"),
        ("kill -TERM $$", FailureClass.MODULE, "killed by SIGTERM"),
        ("kill -KILL $$", FailureClass.LOST, "killed by SIGKILL, by hand or by another program of this machine"),
    ],
)
async def test_a_signal_is_named(
    tmp_path: Path, script: str, kind: FailureClass, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure says which signal ended the module, and the exit code is its negative."""
    monkeypatch.setattr(limits, "_oom_kills", lambda: 0)  # the kernel's own count is of the whole machine
    status, _ = await run(tmp_path, script)
    assert status.failure is not None
    assert (status.failure.kind, status.failure.message) == (kind, message)
    assert status.failure.exit_code is not None
    assert status.failure.exit_code < 0


async def test_a_module_sees_its_own_environment_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine's only the search path and the language; a home of its own; no gpu that it did not ask for."""
    monkeypatch.setenv("ION_LEDGER_PASSWORD", "not for modules")
    async with open_local(tmp_path, devices=("0", "1"), secrets=lambda name: f"value of {name}") as executor:
        script = "env | sort; pwd; readlink /proc/self/fd/0; ls -l /proc/self/fd | wc -l"
        work = assignment(script, env={"A": "b"}, secrets={"KEY": "vision-key"}, folder=str(tmp_path))
        handle = await executor.submit(work)
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED
        lines = [line.split(b" ", 1)[1] for line in (await logged(executor, handle)).splitlines()]
    seen = dict(line.split(b"=", 1) for line in lines[:-3])
    own = {b"PATH", b"LANG", b"LC_ALL", b"TZ", b"HOME", b"TMPDIR", b"A", b"KEY", b"CUDA_VISIBLE_DEVICES", b"PWD"}
    contract = {b"HANDLER_BASE_DIR", b"HANDLER_PORT", b"SHARED_SECRET", b"TRACEPARENT", b"_", b"SHLVL", b"OLDPWD"}
    assert {name for name in seen if not name.startswith(b"ION_")} <= own | contract
    assert b"ION_LEDGER_PASSWORD" not in seen
    assert (seen[b"A"], seen[b"KEY"], seen[b"CUDA_VISIBLE_DEVICES"]) == (b"b", b"***", b"")
    assert seen[b"HOME"].startswith(os.fsencode(tmp_path / "work"))
    assert lines[-3:] == [os.fsencode(tmp_path), b"/dev/null", b"5"]  # 0, 1, 2, and what `ls` opens, and its first line


async def test_a_module_sees_the_gpus_it_was_given(tmp_path: Path) -> None:
    """By the variable that CUDA programs obey."""
    work = assignment("echo devices $CUDA_VISIBLE_DEVICES", resources=Resources(gpu=2))
    work = msgspec.structs.replace(work, job=msgspec.structs.replace(work.job, devices=("1", "3")))
    async with open_local(tmp_path, devices=("0", "1", "2", "3")) as executor:
        handle = await executor.submit(work)
        await final(executor, handle)
        assert b"devices 1,3\n" in await logged(executor, handle)


async def test_closing_the_executor_ends_what_runs(tmp_path: Path) -> None:
    """Nothing outlives it, and what it ended counts as lost, not as the module's failure."""
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment("echo begun; sleep 1000 & sleep 1000", grace_s=3600.0))
        await logs_line(executor, handle, b"begun")
    status = await executor.state(handle)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.LOST


async def test_other_children_of_this_process_are_left_alone(tmp_path: Path) -> None:
    """Clearing up after a module ends no process that is not the module's."""
    other = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        status, _ = await run(tmp_path, "setsid sleep 1000 & exit 0")
        assert status.phase is Phase.SUCCEEDED
        assert other.returncode is None
        os.kill(other.pid, 0)
    finally:
        other.kill()
        await other.wait()


async def test_what_other_children_of_this_process_left_behind_is_left_alone(tmp_path: Path) -> None:
    """A daemon that a program of the user's own started comes to this process too, and is no module's."""
    ours, others = tmp_path / "ours.pid", tmp_path / "others.pid"
    async with open_local(tmp_path) as executor:  # which makes this process the parent of orphans
        other = await asyncio.create_subprocess_exec(*bare_daemon(others), env={})
        await other.wait()
        await until(others.exists)
        daemon = int(others.read_text())
        try:
            await until(lambda: daemon in family.adopted())
            handle = await executor.submit(assignment(**leaving_a_bare_daemon("exit 0", ours)))
            assert (await final(executor, handle)).phase is Phase.SUCCEEDED
            assert (lives(daemon), lives(int(ours.read_text()))) == (True, False)
        finally:
            os.kill(daemon, signal.SIGKILL)
        await until(lambda: reap(daemon) is not None)


async def test_removing_deletes_whatever_modes_the_module_left(tmp_path: Path) -> None:
    """A folder that nobody may enter goes like any other."""
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment('mkdir -p "$HOME/a/b"; chmod 000 "$HOME/a"; exit 1'))
        await final(executor, handle)
        await executor.remove(handle)
        assert [one.name for one in (tmp_path / "work").iterdir() if not one.name.startswith(".")] == []


async def test_what_cannot_run_here_is_refused_when_applied(tmp_path: Path) -> None:
    """Each refusal names both figures, or what is missing."""
    async with open_local(tmp_path) as executor:
        cases: dict[str, dict[str, Any]] = {
            "wants 64 cpus, this machine has 4": {"resources": Resources(cpu=64)},
            "wants 65536 MiB of memory, this machine has 8192 MiB": {"resources": Resources(memory=2**36)},
            "wants 1 gpus, this machine has 0": {"resources": Resources(gpu=1)},
            "has no command": {"command": ()},
            "may not use the network, and a process cannot be kept from it": {"network": False},
            "wants /here at /no/such/folder, and a process sees this machine's own": {
                "mounts": (Mount(source="/here", path="/no/such/folder"),)
            },
        }
        for sentence, module in cases.items():
            with pytest.raises(UnsupportedError, match=sentence):
                executor.check(assignment("", **module).revision)
        executor.check(assignment("").revision)


async def test_a_missing_secret_may_come_yet(tmp_path: Path) -> None:
    """It is no refusal for good: the sentence says where to put the secret, and then the module can run."""
    known: dict[str, str] = {}
    async with open_local(tmp_path, secrets=known.get) as executor:
        revision = assignment("", secrets={"KEY": "vision-key"}).revision
        with pytest.raises(UnavailableError, match=r"needs the secret 'vision-key' \(as KEY\)"):
            executor.check(revision)
        known["vision-key"] = "s3cr3t"
        executor.check(revision)


async def test_a_signal_to_this_process_group_does_not_reach_modules(tmp_path: Path) -> None:
    """A module has a session of its own, so a terminal's interrupt ends it only by the executor's decision."""
    async with open_local(tmp_path) as executor:
        handle = await executor.submit(assignment('echo "begun $(ps -o sid= -p $$)"; sleep 0.2'))
        await logs_line(executor, handle, b"begun")
        assert str(os.getsid(0)).encode() not in (await logged(executor, handle)).split()
        assert (await final(executor, handle)).phase is Phase.SUCCEEDED


async def test_dead_orphans_do_not_pile_up(tmp_path: Path) -> None:
    """A daemon that ended by itself is reaped, though nobody waits for it."""
    become_subreaper()
    program = "import os, sys\nif os.fork(): sys.exit()\nos.setsid(); print(os.getpid(), flush=True)"
    parent = await asyncio.create_subprocess_exec(*PYTHON, program, stdout=asyncio.subprocess.PIPE)
    told, _ = await parent.communicate()
    daemon, orphans = int(told), Orphans(stale_s=0.0)
    await until(lambda: (found := family.look(daemon)) is not None and found.zombie)
    await orphans.end(str(tmp_path), "")
    await orphans.end(str(tmp_path), "")
    assert family.look(daemon) is None
