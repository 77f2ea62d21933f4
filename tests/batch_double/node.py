"""Nodes: they fetch a task's resource files, and really run its command line on this machine.

`docker` is a small program in the tasks' path that starts podman with a configuration of its own. It does not have
graphics cards: `--gpus` is taken out, and what was asked for is written down.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

DOCKER = """#!/bin/sh
# docker on a node, by podman
export CONTAINERS_CONF={folder}/containers.conf
export CONTAINERS_REGISTRIES_CONF={folder}/registries.conf
if [ -n "${{DOCKER_CONFIG:-}}" ]; then export REGISTRY_AUTH_FILE="$DOCKER_CONFIG/config.json"; fi
printf '%s\\n' "$*" >>{folder}/called
for word in "$@"; do
    shift
    case "$word" in
        --env-file=*) # docker reads lines of up to 64 KiB, in UTF-8
            LC_ALL=C awk 'length > 65535 {{ exit 1 }}' "${{word#*=}}" && iconv -f utf-8 "${{word#*=}}" >/dev/null || {{
                echo "docker: the env file cannot be read" >&2
                exit 125
            }}
            set -- "$@" "$word"
            ;;
        --gpus=*) printf '%s\\n' "$word" >>{folder}/gpus ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec podman "$@"
"""
CONFIG = """
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Ended(Exception):  # noqa: N818 - it is no error
    """How a run ended: its exit code or, where it has none, why it failed."""

    def __init__(self, exit_code: int | None, code: str = "", message: str = "", category: str = "UserError") -> None:
        super().__init__(message)
        self.exit_code, self.code, self.message, self.category = exit_code, code, message, category


def install(folder: Path) -> Path:
    """What nodes have; the folder of their programs."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    docker = programs / "docker"
    docker.write_text(DOCKER.format(folder=folder))
    docker.chmod(0o755)
    (folder / "containers.conf").write_text(CONFIG)
    (folder / "registries.conf").touch()
    return programs


class Run:
    """One run of a task. `end` kills it, and all that it started, as hard as can be: with SIGKILL, at once."""

    def __init__(self, folder: Path, task: Mapping[str, object], environment: Mapping[str, str]) -> None:
        self.folder, self._task = folder, task
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended: Ended | None = None

    def end(self, why: Ended) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = why
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it ended just now, and `work` was quicker to see it
                    os.killpg(self._process.pid, signal.SIGKILL)

    def work(self) -> Ended:
        """Runs it to its end."""
        try:
            self._prepare()
            self._start()
        except Ended as ended:
            return self._ended or ended
        assert self._process is not None
        code = self._process.wait()
        if self._ended is not None:
            return self._ended
        return Ended(code) if code == 0 else Ended(code, "FailureExitCode", "The task exited with an exit code")

    def _prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "wd").mkdir(parents=True)
        for name in ("stdout.txt", "stderr.txt"):
            (self.folder / name).touch()
        for file in self._task.get("resourceFiles") or ():  # type: ignore[attr-defined]
            self._fetch(file["httpUrl"], self.folder / "wd" / file["filePath"], int(file.get("fileMode", "0770"), 8))

    def _fetch(self, url: str, path: Path, mode: int) -> None:
        try:
            with urllib.request.urlopen(url, timeout=30.0) as answer:
                path.write_bytes(answer.read())
        except urllib.error.HTTPError as error:
            error.close()
            code = {403: "BlobAccessDenied", 404: "BlobNotFound"}.get(error.code, "BlobDownloadMiscError")
            raise Ended(None, code, f"One of the specified Azure Blob(s): {error}") from error
        except OSError as error:
            raise Ended(None, "BlobDownloadMiscError", str(error)) from error
        path.chmod(mode)

    def _start(self) -> None:
        """The command line runs under no shell."""
        words = shlex.split(str(self._task["commandLine"]))
        with self._lock, (self.folder / "stdout.txt").open("wb") as out, (self.folder / "stderr.txt").open("wb") as bad:
            if self._ended is not None:
                raise self._ended
            try:
                self._process = subprocess.Popen(
                    words, cwd=self.folder / "wd", env=self._environment, stdout=out, stderr=bad, start_new_session=True
                )
            except OSError as error:
                raise Ended(None, "CommandProgramNotFound", str(error)) from error
