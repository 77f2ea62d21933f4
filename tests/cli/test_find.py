"""`ion find` and `ion job why`: which jobs fit, and what a job came of."""

import hashlib
from typing import TYPE_CHECKING

from ion.model.event import Event
from ion.model.module import Module, Subscription

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

CAT = hashlib.sha256(b"a cat").hexdigest()
BOXED = hashlib.sha256(b"a cat in a box").hexdigest()


def test_find_prints_a_line_a_job(bench: "Bench", flow: Event) -> None:
    """In aligned columns: the job, by what it fits, and what it was about."""
    header, *lines = bench.ion("find", "--sha256", CAT[:12]).stdout.splitlines()
    assert header.split() == ["JOB", "MODULE", "STATE", "ADMITTED", "FLOW", "BY", "WHAT", "SUBJECT"]
    assert [line[header.index("MODULE") :].split()[0] for line in lines] == ["cli", "detect"]
    assert [line[header.index("BY") :].split() for line in lines] == [
        ["out", "cat.jpg", "cat.jpg"],
        ["in", "cat.jpg", "cat.jpg"],
    ]


def test_find_takes_several_criteria(bench: "Bench", flow: Event) -> None:
    """All of them have to fit; an insight may be repeated, and the value may have an equals sign."""
    found = bench.json("find", "--subject", "cat.*", "--insight", "faces=2", "-c", flow.correlation_id[:8], "--json")
    assert [(one["job"]["module"], one["by"], one["what"]) for one in found] == [("detect", "insight", "faces=2")]
    assert bench.json("find", "--insight", "faces=2", "--insight", "kind==", "--json") == []
    nothing = bench.ion("find", "--insight", "faces=3")
    assert (nothing.stdout, "no job fits" in nothing.stderr) == ("", True)


def test_find_refuses_what_it_cannot_look_for(bench: "Bench", flow: Event) -> None:
    """One sentence, and exit code 2."""
    for arguments, sentence in (
        ((), "nothing says what to find"),
        (("--sha256", "cat"), "'cat' is no SHA-256"),
        (("--insight", "faces"), "'faces' is no key and value"),
        (("--subject", "*", "-c", "zzz"), "there is no flow 'zzz'"),
    ):
        assert sentence in bench.ion("find", *arguments, code=2).stderr


def test_why_shows_the_chain_from_the_root(bench: "Bench", flow: Event) -> None:
    """Each link: when, the module, what ran, what it got with hashes, what it found and raised."""
    (job,) = bench.jobs("count")
    page = bench.ion("job", "why", job.id[:8]).stdout
    links = page.split("  │\n")
    assert [link.split()[2] for link in links] == ["cli", "detect", "count"]
    root, detect, count = links
    assert f"  event     photo {flow.id}\n" in root
    assert f"  got       cat.jpg  5 B  sha256:{CAT}\n" in root
    assert f"  raised    photo {flow.id}\n" in root
    assert "  command   true\n" in detect
    assert f"  found     faces = 2\n  raised    face {job.event.id}\n" in detect
    assert f"  got       boxed.jpg  14 B  sha256:{BOXED}\n" in count
    assert "  state     dead\n  failure   module: exit code 3\n" in count
    assert "raised" not in count


def test_why_names_image_and_revision(bench: "Bench") -> None:
    """The image is that of the revision which ran."""
    module = Module(name="detect", on=(Subscription(type="photo"),), image="acme/detect:1", folder="/")
    bench.apply(module)
    bench.photo()
    job = bench.succeed("detect", out={})
    page = bench.ion("job", "why", job.id).stdout
    assert "  image     acme/detect:1\n" in page
    assert f"  revision  {job.revision}\n" in page


def test_why_is_an_array_for_scripts(bench: "Bench", flow: Event) -> None:
    """The same chain, with everything of it."""
    (job,) = bench.jobs("detect")
    root, last = bench.json("job", "why", job.id, "--json")
    assert (root["job"]["module"], last["job"]["id"]) == ("cli", job.id)
    assert last["inputs"][0]["sha256"] == CAT
    assert last["insights"] == [{"key": "faces", "value": "2", "typed": 2}]
    assert last["command"] == ["true"]


def test_nothing_foreign_steers_the_terminal(bench: "Bench") -> None:
    """Control characters of keys and values never reach it."""
    bench.photo(subject="a cat")
    job = bench.succeed("detect", out={"insights.json": '{"k\\u001b]0;": "v\\u0007"}'})
    for arguments in (("find", "--insight", "k\x1b]0;=v\x07"), ("job", "why", job.id)):
        out = bench.ion(*arguments).stdout
        assert "cat" in out
        assert "\x1b" not in out
        assert "\x07" not in out
