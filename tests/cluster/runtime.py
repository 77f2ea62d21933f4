"""The node's containerd, as its own command speaks to it."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.places import running
from tests.waiting import waited


def answers() -> bool:
    return subprocess.run([*_client(), "version"], capture_output=True, check=False).returncode == 0


def load(archive: Path) -> None:
    """Gives the node the images of an archive, as `docker save` writes them."""
    said("images", "import", str(archive))


def containers(namespace: str, name: str) -> dict[str, str]:
    """By id the pods of all containers of this name."""
    which = f'labels."io.kubernetes.pod.namespace"=={namespace},labels."io.kubernetes.container.name"=={name}'
    found = said("containers", "list", "-q", which).split()
    return {one: json.loads(said("containers", "info", one))["Labels"]["io.kubernetes.pod.name"] for one in found}


def kill(container: str) -> bool:
    """Kills its first process, and says whether there was one."""
    return _try("tasks", "kill", "-s", "SIGKILL", container)


def end_containers() -> None:
    """With their shims, which outlive containerd.

    Raises:
        TimeoutError: one goes on to run.
    """
    for task in said("tasks", "list", "-q").split():
        _try("tasks", "kill", "-s", "SIGKILL", task)  # it may have ended
    waited(lambda: "RUNNING" not in said("tasks", "list"), 60.0)
    for task in said("tasks", "list", "-q").split():
        _try("tasks", "delete", "-f", task)
    for container in said("containers", "list", "-q").split():
        _try("containers", "delete", container)
    if left := said("tasks", "list", "-q").split():
        raise TimeoutError(f"containers go on to run: {', '.join(left)}; see containerd.log in {running()}")


def said(*words: str) -> str:
    """What `ctr` says. Raises CalledProcessError, with its complaint in the notes."""
    done = subprocess.run([*_client(), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done.stdout


def _try(*words: str) -> bool:
    return subprocess.run([*_client(), *words], capture_output=True, check=False).returncode == 0


def _client() -> Sequence[str]:
    return ["ctr", "-a", str(running() / "containerd.sock"), "-n", "k8s.io"]
