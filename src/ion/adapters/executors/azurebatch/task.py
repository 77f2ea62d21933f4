"""An attempt as a task of Batch: what its node is given in an archive, and the task that unpacks and runs it.

A task's description can be read by everybody who may read the account, so nothing of the attempt is in it: its command
line is the same for all. The archive has what is secret, lies in the blob store, and is fetched by the node.
"""

import base64
import io
import math
import re
import shlex
import tarfile
from collections.abc import Mapping
from importlib.resources import files

import msgspec

from ion.adapters.executors.azurebatch.names import task_id
from ion.adapters.executors.azurebatch.settings import HANDLER_IMAGE, BatchSettings, ModuleOptions, options_of
from ion.errors import UnsupportedError
from ion.messaging.variables import contract_variables
from ion.model.job import FailureClass
from ion.model.module import Module
from ion.ports.executor import Assignment

SEES = "/ion"
ARCHIVE = "given.tar"
COMMAND_LINE = f"/bin/sh -c 'mkdir -p given && tar -xf {ARCHIVE} -C given && exec /bin/sh given/task.sh'"
"""The task's working directory is where Batch starts it."""
LOG, ERRORS, REPORT = "stdout.txt", "stderr.txt", "wd/report.txt"
"""The files of a task that are read, as Batch names them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = "handler/assignment.json"
_CONFIG = "docker/config.json"
_WORD_MOST = 128 * 1024 - 1
"""Bytes of one variable, with its name, that the kernel gives to a program."""
_FILED_MOST = 64 * 1024 - 1
"""Bytes of a line that docker reads from a file of variables."""
_LOG_FACTOR = 4
"""A node keeps so much more of a log than is stored of it, for its end is stored as well."""


def archive(assignment: Assignment, settings: BatchSettings, blobs: str, secrets: Mapping[str, str]) -> bytes:
    """What the node is given.

    Args:
        assignment: The attempt.
        settings: Of the executor.
        blobs: What opens the blobs, as JSON.
        secrets: The values of the module's secrets, by variable.
    """
    environment = _environment(assignment, secrets)
    inherited = {name: value for name, value in environment.items() if not _is_filed(name, value)}
    written = {name: value for name, value in environment.items() if name not in inherited}
    content = {
        "task.sh": files(__package__).joinpath("task.sh").read_bytes(),
        "plan.sh": _plan(assignment, settings, inherited).encode("utf-8", "surrogateescape"),
        _ASSIGNMENT: msgspec.json.encode(assignment),
        "handler/blobs.json": blobs.encode(),
        "module.env": b"".join(_line(name, value) + b"\n" for name, value in written.items()),
    }
    if settings.registries:
        content[_CONFIG] = msgspec.json.encode({"auths": _auths(settings)})
    return _tar(content)


def assignment_in(raw: bytes) -> Assignment | None:
    """The assignment in an archive; None if another version of Ion made it."""
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            member = tar.extractfile(_ASSIGNMENT)
            return msgspec.json.decode(member.read(), type=Assignment) if member is not None else None
    except (tarfile.TarError, KeyError, msgspec.MsgspecError):
        return None


def seconds(module: Module, settings: BatchSettings) -> int:
    """After so many seconds Batch itself ends a task, which the node's own limits have done before: those of pulling
    two images, of the module and its grace, of prepare and commit.
    """
    return math.ceil(2 * module.start_timeout_s + module.timeout_s + module.grace_s + 2 * settings.slack_s)


def module_options(module: Module) -> ModuleOptions:
    return options_of(module.azurebatch)


def pool_of(module: Module, settings: BatchSettings) -> str:
    return module_options(module).pool or settings.pool


def check_mounts(module: Module) -> None:
    """Raises UnsupportedError for a mount that no node can have."""
    for mount in module.mounts:
        if not mount.source.startswith("/"):
            raise UnsupportedError(
                f"module {module.name} mounts {mount.source!r}, and Azure Batch mounts folders of its nodes: name one, "
                "`/mnt/batch/tasks/fsmounts/NAME` for a file share of the pool"
            )
        if ":" in mount.source + mount.path:
            raise UnsupportedError(
                f"module {module.name} mounts {mount.source!r} at {mount.path!r}, and docker takes no path with a colon"
            )


def check_variables(module: Module, secrets: Mapping[str, str]) -> None:
    """Raises UnsupportedError for a variable of the module's, or one of its secrets, that no container can be given."""
    for name, value in sorted({**module.env, **secrets}.items()):
        if fault := _fault_of(name, value):
            raise UnsupportedError(
                f"module {module.name} has the variable {name} {fault}: let it read that from a file"
            )


def _plan(assignment: Assignment, settings: BatchSettings, inherited: Mapping[str, str]) -> str:
    module, job = assignment.revision.module, assignment.job
    handler = module_options(module).handler_image or settings.handler_image or HANDLER_IMAGE
    values = {
        "NAME": f"ion-{task_id(job.id, job.attempt)}",
        "HANDLER_IMAGE": handler,
        "MODULE_IMAGE": assignment.revision.pinned_image,
        "GRACE_S": str(math.ceil(module.grace_s)),
        "START_S": f"{module.start_timeout_s:g}",
        "HANDLER_S": f"{settings.slack_s:g}",
        "LOG_BLOCKS": str(math.ceil(module.log_limit * _LOG_FACTOR / 512)),
    }
    exported = "".join(f"export {name}={shlex.quote(value)}; " for name, value in inherited.items())
    arguments = " ".join(map(shlex.quote, _arguments(assignment, inherited)))
    inside = '--volume "$here/work/ion:/ion" --volume "$here/work/ion/in/data:/ion/in/data:ro"'
    return "".join(
        [
            *(f"{name}={shlex.quote(value)}\n" for name, value in values.items()),
            'export DOCKER_CONFIG="$here/given/docker"\n' if settings.registries else "",
            f'module_docker() ( {exported}exec docker "$@" 9>&- )\n',
            f"module_container() {{ container module {module.timeout_s:g} {inside} {arguments}; }}\n",
        ]
    )


def _arguments(assignment: Assignment, inherited: Mapping[str, str]) -> list[str]:
    module, revision = assignment.revision.module, assignment.revision
    wanted, command = module.resources, module.command
    factor = module.retries.memory_factor ** assignment.job.failures.get(FailureClass.MEMORY, 0)
    memory = int(wanted.memory * factor)
    return [
        "--env-file=given/module.env",
        *(f"--env={name}" for name in inherited),
        *(f"--volume={mount.source}:{mount.path}:ro" for mount in module.mounts),
        *([] if module.network else ["--network=none"]),
        *([f"--gpus={wanted.gpu}"] if wanted.gpu else []),
        *([f"--cpus={wanted.cpu:g}"] if wanted.cpu else []),
        *([f"--memory={memory}b", f"--memory-swap={memory}b"] if memory else []),
        *([f"--shm-size={wanted.shm}b"] if wanted.shm else []),
        "--security-opt=no-new-privileges",
        *([f"--entrypoint={command[0]}"] if command else []),
        revision.pinned_image,
        *command[1:],
    ]


def _environment(assignment: Assignment, secrets: Mapping[str, str]) -> dict[str, str]:
    """The module's variables, its secrets, and the contract's, each over those before."""
    return {**assignment.revision.module.env, **secrets, **contract_variables(assignment, SEES)}


def _is_filed(name: str, value: str) -> bool:
    """Whether docker can read a variable from a file: a line of its own that is not too long."""
    return not set(value) & set("\n\r") and len(_line(name, value)) <= _FILED_MOST


def _fault_of(name: str, value: str) -> str:
    """Why a container cannot have a variable, in words that follow its name; empty if it can."""
    if len(line := _line(name, value)) > _WORD_MOST:
        return f"of more than {_WORD_MOST} bytes, which no program can be given"
    if line.decode(errors="replace") != f"{name}={value}":
        return "that is no UTF-8, which docker passes on as something else"
    if not _is_filed(name, value) and not _NAME.fullmatch(name):
        return "of several lines, and no shell can export that name"
    return ""


def _line(name: str, value: str) -> bytes:
    return f"{name}={value}".encode(errors="surrogateescape")


def _auths(settings: BatchSettings) -> dict[str, dict[str, str]]:
    """As `docker login` would leave them."""
    return {
        one.server: {"auth": base64.b64encode(f"{one.user}:{one.password}".encode()).decode()}
        for one in settings.registries
    }


def _tar(content: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, raw in content.items():
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(raw), 0o600
            tar.addfile(about, io.BytesIO(raw))
    return stream.getvalue()
