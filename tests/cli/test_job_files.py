"""`ion job files` and `ion job pull`: what a job got and left, to open and to have."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ion.model.event import Event

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


def job_of(bench: "Bench", module: str) -> str:
    (job,) = bench.json("job", "list", "-n", module, "--json")
    return str(job["id"])


def test_files_shows_what_a_job_got_and_left(bench: "Bench", flow: Event) -> None:
    """Inputs, outputs and the log, each with a link; JSON has sizes, hashes and URIs."""
    job = job_of(bench, "detect")
    lines = bench.ion("job", "files", job).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["in", "out", "log"]
    assert [line.split()[3] for line in lines[1:]] == ["cat.jpg", "boxed.jpg", "log.txt"]
    files = bench.json("job", "files", "--json", job)
    assert [(file["role"], file["path"], file["size"]) for file in files[:2]] == [
        ("in", "cat.jpg", 5),
        ("out", "boxed.jpg", 14),
    ]
    for file, content in zip(files[:2], (b"a cat", b"a cat in a box"), strict=True):
        assert Path(urlsplit(file["link"]).path).read_bytes() == content


def test_files_refuses_a_lifetime_that_is_none(bench: "Bench", flow: Event) -> None:
    """One sentence, exit code 2."""
    assert "--links" in bench.ion("job", "files", "--links", "soon", job_of(bench, "detect"), code=2).stderr


def test_pull_makes_the_directory_that_the_module_saw(bench: "Bench", flow: Event) -> None:
    """Copies that may be written to, and empty folders for what comes out; never over a folder that is there."""
    job, folder = job_of(bench, "count"), bench.folder / "look"
    bench.ion("job", "pull", job, str(folder))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "in/data/boxed.jpg",
        "in/event.json",
        "in/eventmeta.json",
    ]
    assert (folder / "out/events").is_dir()
    (folder / "in/data/boxed.jpg").write_bytes(b"mine now")
    assert bench.json("job", "files", "--json", job)[0]["size"] == 14
    assert "exists already" in bench.ion("job", "pull", job, str(folder), code=2).stderr


def test_pull_brings_what_a_job_left_if_asked(bench: "Bench", flow: Event) -> None:
    """A job that left nothing is refused, and nothing is made."""
    bench.ion("job", "pull", "--outputs", job_of(bench, "detect"), str(bench.folder / "detect"))
    assert (bench.folder / "detect/out/data/boxed.jpg").read_text() == "a cat in a box"
    refused = bench.ion("job", "pull", "--outputs", job_of(bench, "count"), str(bench.folder / "count"), code=2)
    assert "without its outputs" in refused.stderr
    assert not (bench.folder / "count").exists()


def test_a_job_of_no_module_cannot_be_pulled(bench: "Bench", flow: Event) -> None:
    """A gateway's job ran nothing that a folder could be made for."""
    assert "belongs to no module" in bench.ion("job", "pull", job_of(bench, "cli"), code=2).stderr
