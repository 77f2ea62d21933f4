"""`ion dispatcher start` and `ion gateway start`: real processes on a store, with what is registered there."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.cli.programs import PATIENCE_S, WAITS, Folder, Program, keeps, raises, shell, until

from ion.model.job import State


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Folder]:
    """A folder to run commands in, and a file of settings alone in it."""
    with Folder(tmp_path) as folder:
        folder.write("settings.yaml", "ion: 1\nmachine: {cpu: 4}\n")
        yield folder


def said(program: Program, pattern: str) -> str:
    """What a program says, on either stream, once it does."""
    until(lambda: re.search(pattern, program.out + program.err, re.MULTILINE) is not None)
    found = re.search(pattern, program.out + program.err, re.MULTILINE)
    assert found is not None
    return found[1] if found.groups() else found[0]


def registered(here: Folder) -> None:
    """Two modules, the second of which hears the first."""
    modules = {
        "detect": shell(keeps("a.txt") + raises("face"), on="photo", emits=["face"]),
        "count": shell(keeps("b.txt"), on="face"),
    }
    here.pipeline(modules)
    here.ion("apply", "--store", str(here.store))


def test_together_they_are_an_ion(here: Folder) -> None:
    """The gateway takes an event, each dispatcher runs its module's job, and nobody registers anything."""
    here.pipeline({"detect": shell("true", on="photo")})
    here.run("--event", "photo")
    registered(here)
    gateway = here.start("gateway", "start", "settings.yaml", "--port", "0")
    url = said(gateway, r"^front API: (http://127\.0\.0\.1:\d+)/$")
    one = here.start("dispatcher", "start", "settings.yaml", "--module", "detect")
    for event_type, code in (("photo", 200), ("phto", 422)):
        posted = httpx.post(f"{url}/events/{event_type}", files={"a": ("a.txt", b"a")}, timeout=PATIENCE_S)
        assert posted.status_code == code
    until(lambda: here.released("detect", 2))
    assert [job.state for job in here.jobs("count")] == [State.WAITING]
    two = here.start("dispatcher", "start", "settings.yaml")
    said(two, "serving all registered modules")
    until(lambda: here.released("count"))
    for program in (gateway, one, two):
        program.signal(signal.SIGTERM)
        assert "stopping" in program.wait().err
    assert "✓ detect" in one.out
    assert "✓ count" in two.out


def test_it_tells_how_it_is(here: Folder) -> None:
    """On a port of its own: that it works, that its ledger answers, and its figures."""
    registered_store(here)
    program = here.start("dispatcher", "start", "settings.yaml", "--metrics-port", "0")
    page = said(program, r"^metrics: (http://127\.0\.0\.1:\d+)/metrics$")
    for path in ("/healthz", "/livez"):
        answer = httpx.get(page + path, timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "\nion_dispatchers 1.0\n" in httpx.get(f"{page}/metrics", timeout=PATIENCE_S).text


def registered_store(here: Folder) -> None:
    here.pipeline({"detect": shell("true", on="photo")})
    here.run("--event", "photo")


def test_in_a_pod_the_page_is_for_those_who_look_from_outside(here: Folder) -> None:
    """The kubelet asks at the pod's address."""
    registered_store(here)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    program = here.start("dispatcher", "start", "settings.yaml", "--metrics-port", "0", env=environ)
    port = said(program, r"^metrics: http://0\.0\.0\.0:(\d+)/metrics$")
    assert httpx.get(f"http://127.0.0.2:{port}/livez", timeout=PATIENCE_S).status_code == 200


def test_a_stop_lets_running_jobs_end(here: Folder) -> None:
    """Within the grace."""
    here.pipeline({"detect": shell(WAITS, on="photo")})
    here.ion("apply", "--store", str(here.store), code=2)  # there is no store yet
    program = here.start("dispatcher", "start", "settings.yaml", "--stop-grace", "600")
    said(program, "serving all registered modules")
    here.ion("apply", "--store", str(here.store))
    here.ion("event", "create", "--event-type", "photo", "--event-id", "e", "--correlation-id", "c")
    until(lambda: len(here.begun()) == 1)
    program.signal(signal.SIGTERM)
    said(program, "running jobs have 600 s to end")
    here.go()
    program.wait()
    assert here.released("detect")


def test_a_file_without_modules_is_none_for_ion_up(here: Folder) -> None:
    """A pipeline that does nothing is a mistake there."""
    assert here.ion("up", "settings.yaml", code=2).said.endswith("the pipeline has no modules; add one under 'modules'")


def test_without_a_store_there_is_nothing_to_serve(here: Folder) -> None:
    """A look makes none."""
    for command in ("dispatcher", "gateway"):
        assert here.ion(command, "start", code=2).said.startswith("there is no store to serve: name one by --store")
