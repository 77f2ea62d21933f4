"""Ion's images as a node runs them: any user, nothing of the root writable, no network."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.cluster.images import busybox_image, ion_image, media_image, missing
from tests.executors.own_engine import suit

from ion import __version__

USER = "48151623:62342"
CLOSED = ("--rm", "--pull=never", "--network=none", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all")
CLIENTS = (
    "obstore, grpc, grpc_health.v1, grpc_reflection.v1alpha, cryptography, psycopg, pymongo, nats, aio_pika, lightkube"
    ", opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http, opentelemetry.exporter.otlp.proto.grpc"
)
BUILDERS = ("pip", "pip3", "gcc", "cc", "make", "git")
REMAINS = ("/wheels", "/source", "/own", "/opt/pip", "/etc/pip.conf", "/root/.cache", "/tmp/requirements.txt")
VIDEO = """
import subprocess, imageio_ffmpeg
source = "-f lavfi -i testsrc=duration=2:size=320x240:rate=10 /ion/in/data/clip.mp4".split()
subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source], check=True)
"""


class Podman:
    """Runs images, closed."""

    def run(self, image: str, *words: str, options: Sequence[str] = ()) -> str:
        """What it said. Raises CalledProcessError, with what it complained of in its notes."""
        command = ["podman", "run", *CLOSED, f"--user={USER}", *options, image, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done.stdout


def load(image: tuple[str, Path]) -> str:
    """Gives podman the archive, whatever has that name there; the image's identity."""
    name, archive = image
    subprocess.run(["podman", "load", "--quiet", "--input", str(archive)], check=True, capture_output=True)
    inspected = subprocess.run(["podman", "image", "inspect", name], check=True, capture_output=True)
    return str(json.loads(inspected.stdout)[0]["Id"])


def inspected(image: str) -> dict[str, object]:
    told = subprocess.run(["podman", "image", "inspect", image], check=True, capture_output=True)
    config: dict[str, object] = json.loads(told.stdout)[0]["Config"]
    return config


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """One that works here, with a configuration of ours if need be."""
    if why := missing():
        _give_up(why)
    with pytest.MonkeyPatch.context() as patch:
        name = load(busybox_image())
        if why := suit(lambda: _why_not(name), tmp_path_factory.mktemp("engine"), patch):
            _give_up(why)
        yield Podman()


def _why_not(image: str) -> str:
    done = subprocess.run(["podman", "run", *CLOSED, image, "true"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def _give_up(why: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


@pytest.fixture(scope="module")
def ion(podman: Podman) -> str:
    return load(ion_image())


@pytest.fixture(scope="module")
def media(podman: Podman) -> str:
    return load(media_image())


def test_the_image_is_ion_of_this_checkout(podman: Podman, ion: str) -> None:
    """Its command is `ion`, as any user and with a root that cannot be written."""
    assert podman.run(ion, "version").split()[1] == __version__
    assert "prepare" in podman.run(ion, "handler", "--help")


def test_every_store_and_bus_of_a_cluster_has_its_client(podman: Podman, ion: str) -> None:
    """What the extras bring can be imported; nothing is missing of the system's libraries."""
    assert podman.run(ion, "-c", f"import {CLIENTS}; print('all')", options=["--entrypoint=python"]) == "all\n"


def test_nothing_is_written_at_a_start(podman: Podman, ion: str) -> None:
    """Bytecode is in the image: a process that starts compiles nothing of Ion or of what Ion needs."""
    program = (
        "import sys, importlib.util, ion.cli.main, ion.handler, msgspec, click\n"
        "files = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, '__spec__', None)]\n"
        "own = [s for s in files if s.origin and s.origin.startswith('/opt/ion') and s.origin.endswith('.py')]\n"
        "import os; print(len(own), [s.origin for s in own if not os.path.exists(s.cached)])"
    )
    count, _, rest = podman.run(ion, "-c", program, options=["--entrypoint=python"]).partition(" ")
    assert int(count) > 20
    assert rest == "[]\n"


@pytest.mark.parametrize("name", ["ion", "media"])
def test_nothing_to_build_with_is_left(podman: Podman, name: str, request: pytest.FixtureRequest) -> None:
    """No compiler, no installer, no cache of downloads, and no setting of the machine that built it."""
    image = request.getfixturevalue(name)
    look = (
        f"for name in {' '.join(BUILDERS)}; do command -v $name; done; find {' '.join(REMAINS)} 2>/dev/null; echo end"
    )
    assert podman.run(image, "-c", look, options=["--entrypoint=sh", "--user=0"]) == "end\n"
    environment = inspected(image)["Env"]
    assert isinstance(environment, list)
    assert [one for one in environment if "PIP" in one or "PROXY" in one.upper()] == []


@pytest.mark.parametrize("name", ["ion", "media"])
def test_the_user_is_a_number_and_not_root(name: str, request: pytest.FixtureRequest) -> None:
    """A cluster that demands `runAsNonRoot` cannot tell of a user by name."""
    assert inspected(request.getfixturevalue(name))["User"] == "65532:65532"


def test_sample_modules_do_their_work_in_their_image(podman: Podman, media: str, tmp_path: Path) -> None:
    """Pictures of a video, taken with the image's own ffmpeg; the colour of one, found by its own OpenCV."""
    first, second = tmp_path / "first", tmp_path / "second"
    seen = _directory(first)
    podman.run(media, "python", "-c", VIDEO, options=seen)
    podman.run(media, "python", "modules/frames.py", options=[*seen, "--env=EVERY_S=0.5"])
    pictures = sorted((first / "out/data").iterdir())
    assert len(pictures) == len(list((first / "out/events").iterdir())) == 4
    seen = _directory(second)
    shutil.copy(pictures[0], second / "in/data")
    podman.run(media, "python", "modules/colours.py", options=seen)
    assert json.loads((second / "out/insights.json").read_text())


def _directory(top: Path) -> list[str]:
    """A directory as modules see it; the options that show it to a container."""
    for folder in ("in/data", "out/data", "out/events"):
        (top / folder).mkdir(parents=True)
    for each in (top, *top.rglob("*")):
        each.chmod(0o777)
    (top / "in/eventmeta.json").write_text("[]")
    return [f"--volume={top}:/ion", "--env=ION_DIR=/ion"]


def test_an_archive_of_the_same_source_is_not_built_again(podman: Podman) -> None:
    """It is found by what went into it: the same file, as it was."""
    _, first = ion_image()
    before = first.stat().st_ino
    _, second = ion_image()
    assert (second, second.stat().st_ino) == (first, before)
