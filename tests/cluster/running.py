"""Starting, finding, restarting and stopping the one cluster of this machine."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.cluster import runtime
from tests.cluster.build import built, why_not_built
from tests.cluster.ending import end_all
from tests.cluster.image_tar import write_image
from tests.cluster.places import cache, running
from tests.cluster.processes import Started, alive, end, running_as, start
from tests.cluster.servers import NODE, PAUSE, Plan
from tests.waiting import waited

NEEDED = (
    "etcd",
    "containerd",
    "runc",
    "kubectl",
    "iptables",
    "conntrack",
    "/usr/lib/cni/bridge",
    "socat",
    "openssl",
    "cc",
)
READY_S = 300.0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, in the order of its start."""

    processes: tuple[Started, ...]


def missing() -> str:
    """Why no cluster can run here, in one sentence; empty if one can."""
    if why := unusable():
        return why
    if others := _other_kubelets():
        return (
            f"a kubelet runs here that is not of the cluster in {cache()} (pid {others[0]}): two would delete "
            "the logs of each other's pods; end it first"
        )
    return why_not_built()


def unusable() -> str:
    """Why this machine cannot be a node, whatever runs on it; empty if it can."""
    if os.geteuid() != 0:
        return "a Kubernetes node needs root"
    if gone := [name for name in NEEDED if shutil.which(name) is None]:
        return f"not here: {', '.join(gone)}; on Debian 12 `make system` installs them"
    return ""


def _other_kubelets() -> Sequence[int]:
    """Kubelets that see the same files as this process: a kubelet keeps logs in /var/log/pods, wherever its root is."""
    state = _state()
    own = {one.pid for one in state.processes if alive(one)} if state else set()
    return [pid for pid in running_as("kubelet") if pid not in own]


def kubeconfig() -> Path:
    return running() / "kubeconfig"


def kubectl(*words: str, stdin: str = "") -> str:
    """Runs it as the cluster's admin. Raises CalledProcessError, with what it said in its notes."""
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={kubeconfig()}", *words], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done.stdout


def is_up() -> bool:
    """Whether all of it runs; an API server that is busy has a while to answer."""
    state = _state()
    return state is not None and all(alive(one) for one in state.processes) and waited(_answers, 120.0)


def up() -> bool:
    """Starts the cluster, unless it runs; whether it had to.

    Raises:
        TimeoutError: it is not ready in time; says where the logs are.
    """
    with _locked():
        if is_up():
            return False
        programs = built()
        _down()
        print(f"» a Kubernetes cluster, with the programs of {programs}", flush=True)
        folder = running()
        folder.mkdir(mode=0o700)
        plan = Plan(folder)
        plan.write()
        started: list[Started] = []
        for name, command in plan.commands():
            started.append(start(name, command, folder))
            keep(State(processes=tuple(started)))
            if name == "kube-apiserver":
                _await(_answers, "the API server")
            if name == "containerd":
                _await(runtime.answers, "containerd")
                runtime.load(_pause())
        _await(_is_ready, "the node")
        return True


def restart(name: str) -> None:
    """Ends one program of the cluster and starts it anew, as it was."""
    with _locked():
        state = _state()
        assert state is not None
        processes = list(state.processes)
        at = next(number for number, one in enumerate(processes) if one.name == name)
        end(processes[at])
        processes[at] = start(name, processes[at].command, running(), processes[at].environ)
        keep(State(processes=tuple(processes)))
        _await(_answers, "the API server")


def down() -> None:
    """Ends everything of the cluster, and unmounts what it mounted."""
    with _locked():
        _down()


def _down() -> None:
    state = _state()
    end_all(state.processes if state else (), running())


# ---- looking ------------------------------------------------------------------------------------------------------


def _await(there: Callable[[], bool], what: str) -> None:
    if not waited(there, READY_S):
        raise TimeoutError(f"{what} does not get ready; see the logs in {running()}")


def _answers() -> bool:
    return _succeeds(["kubectl", f"--kubeconfig={kubeconfig()}", "--request-timeout=5s", "get", "--raw", "/readyz"])


def _is_ready() -> bool:
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    try:
        ready = kubectl("get", "node", NODE, "-o", f"jsonpath={path}")
        kubectl("get", "serviceaccount", "default")
    except subprocess.CalledProcessError:
        return False
    return ready == "True"


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# ---- files --------------------------------------------------------------------------------------------------------


def _pause() -> Path:
    source, program, archive = Path(__file__).with_name("pause.c"), running() / "pause", running() / "pause.tar"
    subprocess.run(["cc", "-static", "-Os", "-o", str(program), str(source)], check=True)
    write_image(archive, PAUSE, {"pause": (program.read_bytes(), 0o755)}, entrypoint=["/pause"])
    return archive


def _state() -> State | None:
    try:
        return msgspec.json.decode((running() / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        return None


def keep(state: State) -> None:
    """Writes down what runs, for `down` to end."""
    draft = running() / ".state.json"
    draft.write_bytes(msgspec.json.encode(state))
    draft.rename(running() / "state.json")


@contextmanager
def _locked() -> Iterator[None]:
    with (cache() / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
