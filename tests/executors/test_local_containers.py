"""Modules in containers, by an engine that really runs them."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.executors.own_engine import suit

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.executors.local.container import Engine, find_engine
from ion.errors import UnsupportedError
from ion.model.event import FileRef
from ion.model.job import FailureClass
from ion.model.module import Module, Mount, Resources, revise
from ion.ports.executor import Phase, Status
from ion.testing.conformance.executor import WAITS, assignment, final, logged, logs_line, root_event
from ion.testing.local import abandon, open_local

IMAGE = f"localhost/ion-executor-test:{os.getpid()}"
CONTENT = b"content" * 100_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine, with an image of a static busybox. On a machine that its configuration does not suit, with another."""
    patch = pytest.MonkeyPatch()
    found, reason = find_engine(os.environ["PATH"]), "no container engine works here"
    if found is not None:
        reason = _import_image(found)
        engine = found
        reason = reason or suit(lambda: _try(engine), tmp_path_factory.mktemp("engine"), patch)
    if reason or found is None:
        patch.undo()
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    yield found
    subprocess.run([found.path, "rmi", "--force", IMAGE], capture_output=True, check=False)
    patch.undo()


def _import_image(engine: Engine) -> str:
    busybox = shutil.which("busybox")
    if busybox is None:
        return "there is no static busybox to make an image of"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in (
            "sh",
            "cat",
            "chmod",
            "dd",
            "echo",
            "env",
            "head",
            "id",
            "kill",
            "ls",
            "mkdir",
            "sleep",
            "touch",
            "wc",
        ):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    done = subprocess.run(
        [engine.path, "import", "-", IMAGE], input=archive.getvalue(), capture_output=True, check=False
    )
    return done.stderr.decode() if done.returncode else ""


def _try(engine: Engine) -> str:
    arguments = [engine.path, "run", "--rm", "--network=none", "--entrypoint=/bin/sh", IMAGE, "-c", "exit 0"]
    done = subprocess.run(arguments, capture_output=True, check=False)
    return done.stderr.decode() if done.returncode else ""


async def run(folder: Path, script: str, **module: Any) -> tuple[Status, bytes]:
    """How an attempt in a container ends, and its log."""
    more: dict[str, Any] = {"command": ("/bin/sh", "-c", script), "image": IMAGE, "network": False, **module}
    async with open_local(folder, secrets=lambda name: f"{name}\n'of\" $two #lines") as executor:
        handle = await executor.submit(assignment(script, **more))
        status = await final(executor, handle)
        try:
            return status, await logged(executor, handle)
        finally:
            await executor.remove(handle)


def containers(engine: Engine) -> list[bytes]:
    listing = [engine.path, "ps", "--all", "--quiet", "--filter", f"ancestor={IMAGE}"]
    return subprocess.run(listing, capture_output=True, check=True).stdout.split()


async def test_a_container_does_its_work_in_ion(tmp_path: Path, engine: Engine) -> None:
    """It sees its directory at /ion, writes there, and leaves no container."""
    status, log = await run(tmp_path, 'cat /ion/in/event.json >/dev/null && echo out >/ion/out/data/a; echo "$ION_DIR"')
    assert status.phase is Phase.SUCCEEDED, (status.failure, log)
    assert status.manifest is not None
    assert status.manifest.files == 1
    assert log.endswith(b" /ion\n")
    assert containers(engine) == []


async def test_inputs_are_read_only_in_a_container(tmp_path: Path, engine: Engine) -> None:
    """Root in it cannot write to a linked blob, and goes on."""
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    async with FilesystemBlobs(tmp_path / "blobs", links=True) as blobs:
        await blobs.put("input/a", source)
        event = root_event(FileRef(path="a", blob="input/a", size=len(CONTENT)))
        script = "cd /ion/in/data; echo x >> a; chmod 666 a; head -c 9 a > a; wc -c a; exit 5"
        status, log = await run(tmp_path, script, event=event)
        assert status.failure is not None
        assert status.failure.exit_code == 5
        assert b"%d a\n" % len(CONTENT) in log
        assert await blobs.get_bytes("input/a") == CONTENT


async def test_variables_and_secrets_reach_a_container_unchanged(tmp_path: Path, engine: Engine) -> None:
    """Quotes, dollars and line ends included; the log shows no value of a secret."""
    value = 'it\'s "quoted" $HOME \\ #no comment'
    script = '[ "$ODD" = "$1" ] && [ "$KEY" = "$2" ] && echo same; echo "$KEY"'
    secret = "pond\n'of\" $two #lines"
    command = ("/bin/sh", "-c", script, "-", value, secret)
    status, log = await run(tmp_path, script, command=command, env={"ODD": value}, secrets={"KEY": "pond"})
    assert status.phase is Phase.SUCCEEDED, status.failure
    assert b"same\n" in log
    assert b"#lines" not in log


async def test_a_mount_is_read_only(tmp_path: Path, engine: Engine) -> None:
    """A folder of the host is seen under its path, and cannot be written to."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "m").write_text("weights\n")
    mounts = (Mount(source=str(models), path="/models"),)
    status, log = await run(tmp_path, "cat /models/m; touch /models/x || echo refused", mounts=mounts)
    assert status.phase is Phase.SUCCEEDED
    assert b"weights\n" in log
    assert b"refused\n" in log


async def test_a_container_without_network_has_only_the_loopback(tmp_path: Path, engine: Engine) -> None:
    """`network: false` is kept by the engine."""
    _, log = await run(tmp_path, "ls /sys/class/net; echo end")
    assert [line.split(b" ", 1)[1] for line in log.splitlines()] == [b"lo", b"end"]


async def test_exit_codes_of_a_container_are_the_modules(tmp_path: Path, engine: Engine) -> None:
    """Also the one that engines use for troubles of their own; a signal is named."""
    for code in (3, 125):
        status, _ = await run(tmp_path, f"exit {code}")
        assert status.failure is not None
        assert (status.failure.kind, status.failure.exit_code) == (FailureClass.MODULE, code)


async def test_a_command_that_the_image_lacks_is_permanent(tmp_path: Path, engine: Engine) -> None:
    """The engine says so in the log; another attempt would not help."""
    status, log = await run(tmp_path, "", command=("/no/such",))
    assert status.failure is not None
    assert status.failure.kind is FailureClass.CONTRACT
    assert b"/no/such" in log


async def test_an_image_that_cannot_be_had_is_infrastructure(tmp_path: Path, engine: Engine) -> None:
    """It burns none of the module's retries, and names the image."""
    status, _ = await _without_log(tmp_path, image="127.0.0.1:1/none:1")
    assert status.failure is not None
    assert status.failure.kind is FailureClass.INFRASTRUCTURE
    assert "127.0.0.1:1/none:1" in status.failure.message


async def _without_log(folder: Path, **module: Any) -> tuple[Status, None]:
    async with open_local(folder) as executor:
        return await final(executor, await executor.submit(assignment("", **module))), None


async def test_a_container_past_its_time_limit_is_ended(tmp_path: Path, engine: Engine) -> None:
    """With its grace, though its first process ignores SIGTERM."""
    status, _ = await run(tmp_path, 'trap "" TERM; while :; do sleep 1; done', timeout_s=1.0, grace_s=1.0)
    assert status.failure is not None
    assert status.failure.kind is FailureClass.TIMEOUT
    assert containers(engine) == []


async def test_a_container_over_its_memory_is_ended(tmp_path: Path, engine: Engine) -> None:
    """By the kernel; the failure has the class of memory."""
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1"
    status, log = await run(
        tmp_path, script, command=("/bin/dd", *script.split()[1:]), resources=Resources(memory=32 << 20)
    )
    assert status.failure is not None
    assert status.failure.kind is FailureClass.MEMORY, (status.failure, log)


async def test_closing_the_executor_ends_its_containers(tmp_path: Path, engine: Engine) -> None:
    """None outlives it."""
    async with open_local(tmp_path) as executor:
        work = assignment("", command=("/bin/sh", "-c", WAITS), image=IMAGE, network=False)
        handle = await executor.submit(work)
        await logs_line(executor, handle, b"begun")
    assert containers(engine) == []


async def test_a_container_of_a_killed_dispatcher_is_removed(tmp_path: Path, engine: Engine) -> None:
    """Recovery finds it by its label, keeps its log, and calls the attempt lost."""
    await abandon(tmp_path, assignment("", command=("/bin/sh", "-c", WAITS), image=IMAGE, network=False))
    assert containers(engine) != []
    async with open_local(tmp_path) as executor:
        [status] = await executor.recover()
        assert status.failure is not None
        assert status.failure.kind is FailureClass.LOST
        assert containers(engine) == []
        assert b"begun" in await logged(executor, status.handle)


async def test_an_image_without_an_engine_is_refused_when_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says what to install; with a command beside the image it runs as a process instead."""
    shell = shutil.which("sh")
    assert shell is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    async with open_local(tmp_path) as executor:
        with pytest.raises(UnsupportedError, match="install podman"):
            executor.check(revise(Module(name="probe", image=IMAGE)))
        with pytest.raises(UnsupportedError, match="install podman"):
            executor.check(assignment("", image=IMAGE, runtime="container").revision)
        work = assignment("", image=IMAGE, command=(shell, "-c", "exit 0"))
        executor.check(work.revision)
        assert (await final(executor, await executor.submit(work))).phase is Phase.SUCCEEDED


def test_a_known_digest_is_what_runs() -> None:
    """The tag may have moved since the revision was made; a registry's port is no tag."""
    digest = "sha256:" + "a" * 64

    def pinned(image: str, digest: str = digest) -> str:
        return revise(Module(name="m", image=image), digest).pinned_image

    assert pinned("reg:5000/acme/detect:1") == f"reg:5000/acme/detect@{digest}"
    assert pinned("detect") == f"detect@{digest}"
    assert pinned(f"detect@{digest}") == f"detect@{digest}"
    assert pinned("detect:1", "") == "detect:1"
