"""Programs of 2018's Ion run unchanged: the quick start, word for word, and what their directory asks of Ion."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart-transcode.md"
WANTED = ("curl", "cc")

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("CI")
        and not (importlib.util.find_spec("imageio_ffmpeg") and all(shutil.which(name) for name in WANTED)),
        reason="needs `pip install -r examples/media/requirements.txt`, and `make system` for curl and cc",
    ),
]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """The examples, and nothing that ran there before."""
    ignored = shutil.ignore_patterns(".ion", "tagger", "*.log", "answer.json", "small", "tmp*", "__pycache__")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignored)
    return tmp_path / "examples"


def commands(page: Path) -> str:
    """All that a page's shell blocks say, on ports that are free."""
    said = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", page.read_text()))
    for port, free in zip(("8000", "9000", "9001"), free_ports(3), strict=True):
        said = said.replace(port, str(free))
        if port == "9000":
            said = said.replace("ion up", f"ion up --management-port {free}")
        if port == "9001":
            said = said.replace("ion up", f"ion up --port {free}")
    return said


def test_the_quick_start_does_what_it_says(examples: Path) -> None:
    """Every command of the page in one shell, one after the other, each of which has to succeed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "ION_METRICS_PORT": "off"}
    done = subprocess.run(
        ["bash", "-o", "monitor", "-o", "pipefail", "-e", "-c", commands(PAGE)],
        cwd=examples / "original",
        env=environ | {"HOME": str(examples)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    answer = json.loads((examples / "original" / "answer.json").read_text())
    assert answer["type"] == "frontapi.new_link"
    assert answer["context"]["parentEventId"] == "frontapi"
    assert "4 released" in done.stdout
    assert re.search(r'"key": ?"kind", ?"value": ?"mp4"', done.stdout)
    assert (examples / "original" / "small" / "out" / "data" / "bikes-small.mp4").stat().st_size > 10_000


def test_no_module_names_anything_newer_than_the_directory(examples: Path) -> None:
    """Else they would prove nothing of the programs that there are."""
    for name in ("downloader.sh", "transcoder.py", "tagger.c"):
        source = (examples / "original" / name).read_text()
        assert "HANDLER_BASE_DIR" in source
        assert re.findall(r"ION_\w+|event\.json|TRACEPARENT", source) == []
