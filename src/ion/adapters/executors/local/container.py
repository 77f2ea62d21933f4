"""Modules with an image: containers of podman, else docker.

The engine's client is run like any program, its outputs are the module's. The attempt's directory is mounted at
`/ion`, its inputs read-only above it (so links to stored blobs need no further guard). The container is not started
with `--rm`: its end is looked at first (memory, engine trouble), then it is removed by name. A container that
outlives its dispatcher is found by the label `ion.attempt`.
"""

import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ion.adapters.executors.local.orphans import Orphans
from ion.adapters.executors.local.process import Exit, Program, ProgramRun, start
from ion.adapters.executors.local.readiness import Readiness
from ion.adapters.executors.log import LogSpool
from ion.errors import UnavailableError
from ion.model.module import Module, Revision
from ion.ports.executor import Assignment, Workspace

SEES = "/ion"
"""Where a container sees its directory."""
ENVIRONMENT = "environment"
"""The file with a container's variables: it is there while the container is, or may be."""

_CALL_S = 60.0
_KILL_AFTER_S = 10.0
_NO_SUCH_COMMAND = 127


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A container engine that works here, by its client's path."""

    name: str
    path: str

    async def call(self, *arguments: str, within_s: float = _CALL_S) -> tuple[int, str, str]:
        """Exit code and both outputs of one client command. UnavailableError if it takes longer than `within_s`."""
        pipe = asyncio.subprocess.PIPE
        client = await asyncio.create_subprocess_exec(
            self.path, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
        )
        try:
            async with asyncio.timeout(within_s):
                out, error = await client.communicate()
        except TimeoutError as late:
            raise UnavailableError(f"`{self.name} {arguments[0]}` took longer than {within_s:g} s") from late
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        return client.returncode or 0, out.decode(errors="replace"), error.decode(errors="replace").strip()

    async def fetch(self, image: str, within_s: float) -> None:
        """Has the image here, pulling it if need be. UnavailableError if that fails."""
        if (await self.call("image", "inspect", image))[0] == 0:
            return
        code, _, error = await self.call("pull", "--quiet", image, within_s=within_s)
        if code:
            raise UnavailableError(f"the image {image} cannot be pulled: {error.splitlines()[-1] if error else code}")

    async def remove(self, attempt: str) -> None:
        """Ends and removes the containers of an attempt, if there are any."""
        _, found, _ = await self.call("ps", "--all", "--quiet", "--filter", f"label=ion.attempt={attempt}")
        if names := found.split():
            await self.call("rm", "--force", *names)


def find_engine(path: str) -> Engine | None:
    """The first engine on `path` whose client reaches a working engine. Blocks for a fraction of a second."""
    for name in ("podman", "docker"):
        client = shutil.which(name, path=path)
        if client is None:
            continue
        try:
            answer = subprocess.run([client, "info"], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):  # an engine that does not answer is none
            continue
        if answer.returncode == 0 and b"Cannot connect" not in answer.stderr:
            return Engine(name=name, path=client)
    return None


def in_container(module: Module) -> bool:
    """Whether the module is to run in a container where there is an engine."""
    return bool(module.image) and module.runtime != "process"


def no_engine(module: Module) -> str:
    """What is missing for a module with an image, in a sentence."""
    return (
        f"module {module.name} runs the image {module.image}, and no container engine works here: "
        f"install podman (or docker, and start it), or give the module a command and `runtime: process`"
    )


async def start_container(
    engine: Engine,
    assignment: Assignment,
    workspace: Workspace,
    *,
    folder: Path,
    environment: Mapping[str, str],
    memory: int,
    spool: LogSpool,
    orphans: Orphans,
    readiness: Readiness,
) -> "ContainerRun":
    """Runs an attempt's image, which must be here. `memory` is its limit in bytes, 0 for none."""
    file, inherited = await asyncio.to_thread(_write_environment, folder / ENVIRONMENT, environment)
    name = f"ion-{workspace.execution}"
    arguments = [
        engine.path,
        "run",
        "--name",
        name,
        "--label",
        f"ion.attempt={folder.name}",
        *["--env-file", str(file)],
        *[f"--env={variable}" for variable in inherited],
        *_options(engine, assignment, workspace, memory),
        *_command(assignment.revision),
    ]
    program = Program(
        command=tuple(arguments),
        directory=folder,
        environment={**os.environ, **inherited},  # the client's own settings are in its environment
        folder=folder / "ion",
        whose=f"the container of module {assignment.revision.module.name}",
    )
    return ContainerRun(engine, name, workspace.directory, start(program, spool, orphans, readiness), file)


class ContainerRun:
    """A running container, by the client that runs it."""

    def __init__(self, engine: Engine, name: str, directory: Path, client: ProgramRun, environment: Path) -> None:
        self.pid = 0  # the client's processes say nothing of the module's memory
        self.exited = client.exited
        self._engine = engine
        self._name = name
        self._directory = directory
        self._client = client
        self._environment = environment
        self._calls: set[asyncio.Task[tuple[int, str, str]]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def end(self, grace_s: float) -> None:
        """The engine stops it: SIGTERM, SIGKILL after `grace_s`; if the engine does not, it is removed by force."""
        if self.exited.done():
            return
        seconds = math.ceil(grace_s)
        self._call("stop", "--time", str(seconds), self._name, within_s=seconds + _KILL_AFTER_S)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds + _KILL_AFTER_S, self.kill)

    def kill(self) -> None:
        if not self.exited.done():
            self._call("kill", self._name)
            self._client.end(_KILL_AFTER_S)

    async def finish(self) -> Exit:
        """Looks at how the container ended, removes it, and makes what it wrote readable."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        state = await self._inspect()
        await self._engine.call("rm", "--force", self._name)
        ended = await self._client.finish()
        await asyncio.to_thread(self._environment.unlink, missing_ok=True)
        if self._engine.name == "podman" and os.geteuid() != 0:
            out = str(self._directory / "out")
            await self._engine.call("unshare", "chmod", "-R", "a+rwX", out, within_s=_CALL_S * 10)
        return _judge(ended, state, self._name)

    def abandon(self) -> None:
        self._client.abandon()

    async def _inspect(self) -> dict[str, object]:
        code, out, _ = await self._engine.call("inspect", "--format", "{{json .State}}", self._name)
        return msgspec.convert(json.loads(out), dict[str, object]) if code == 0 else {}

    def _call(self, *arguments: str, within_s: float = _CALL_S) -> None:
        task = asyncio.create_task(
            self._engine.call(*arguments, within_s=within_s), name=f"{self._name} {arguments[0]}"
        )
        self._calls.add(task)


def _judge(ended: Exit, state: Mapping[str, object], name: str) -> Exit:
    """The container's end. The engine's word counts, the client's code only where the container never started, or where
    the client was killed: a module may exit with the client's own codes (125 to 127) as well.
    """
    if str(state.get("StartedAt", "")) < "0002":
        trouble = f"the engine could not start container {name} (code {ended.code}); the log says why"
        return Exit(code=ended.code, used=ended.used, trouble=trouble, permanent=ended.code == _NO_SUCH_COMMAND)
    told = state.get("ExitCode")
    code = told if isinstance(told, int) and not state.get("Running") else ended.code
    if 128 < code <= 128 + signal.SIGRTMAX:
        code = 128 - code
    return Exit(code=code, used=ended.used, out_of_memory=bool(state.get("OOMKilled")))


def _options(engine: Engine, assignment: Assignment, workspace: Workspace, memory: int) -> list[str]:
    module = assignment.revision.module
    inputs = workspace.directory / "in" / "data"
    options = [
        "--pull=never" if engine.name == "podman" else "--log-driver=none",
        "--security-opt=label=disable",  # on SELinux hosts, relabelling would change linked blobs
        f"--volume={workspace.directory}:{SEES}",
        f"--volume={inputs}:{SEES}/in/data:ro",
        *(f"--volume={mount.source}:{mount.path}:ro" for mount in module.mounts),
    ]
    if engine.name == "podman":
        options.append("--log-driver=none")
    elif os.geteuid() != 0:
        options.append(f"--user={os.geteuid()}:{os.getegid()}")  # else its files would be root's, not ours to remove
    return options + _bounds(engine, module, memory) + _devices(engine, assignment.job.devices)


def _bounds(engine: Engine, module: Module, memory: int) -> list[str]:
    wanted = module.resources
    bounds = [] if module.network else ["--network=none"]
    if wanted.shm:
        bounds.append(f"--shm-size={wanted.shm}b" if engine.name == "podman" else f"--shm-size={wanted.shm}")
    if memory:
        bounds += [f"--memory={memory}b", f"--memory-swap={memory}b"]
    if wanted.cpu:
        bounds.append(f"--cpus={wanted.cpu:g}")
    return bounds


def _devices(engine: Engine, devices: tuple[str, ...]) -> list[str]:
    if not devices:
        return []
    if engine.name == "podman":
        return [f"--device=nvidia.com/gpu={device}" for device in devices]
    return [f'--gpus="device={",".join(devices)}"']


def _command(revision: Revision) -> list[str]:
    command = revision.module.command
    if not command:
        return [revision.pinned_image]
    return [f"--entrypoint={command[0]}", revision.pinned_image, *command[1:]]


def _write_environment(file: Path, environment: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Writes what an env-file can hold, for nothing of it may stand on a command line.

    Engines differ in how they read quotes and line ends there: values with such come back, to be inherited by the
    container from the client's own environment.
    """
    inherited = {name: value for name, value in environment.items() if set(value) & set("\n\r\"'`\\#")}
    lines = "".join(f"{name}={value}\n" for name, value in environment.items() if name not in inherited)
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123 - with a mode
        stream.write(lines)
    return file, inherited
