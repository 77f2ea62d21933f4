"""`ion up`: the real command, spoken to by HTTP, stopped by signals and killed."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.programs import WAITS, Folder, Serving, alive, keeps, raises, shell, until

from ion.dispatcher.stores import Stores
from ion.model.job import FailureClass, State

DETECT = {"detect": shell(WAITS, on="photo", retries={"backoff": "1ms"})}
PHOTO = {"files": {"file": ("cat.jpg", b"a cat")}}


@pytest.fixture
def here(tmp_path: Path) -> Iterator["Folder"]:
    """A folder to run commands in."""
    with Folder(tmp_path) as folder:
        yield folder


def post_photo(up: "Serving") -> None:
    assert up.post("/events/photo", **PHOTO).status_code == 200


def begin(here: "Folder", *arguments: str) -> "Serving":
    """An `ion up` in which a job of `detect` runs."""
    here.pipeline(DETECT)
    up = here.up(*arguments)
    post_photo(up)
    until(lambda: len(here.begun()) == 1)
    return up


# ---- the front API ----------------------------------------------------------------------------------------------


def test_what_is_posted_starts_jobs(here: "Folder") -> None:
    """A link and a form with a file become root events; their flows run to the end beside other commands."""
    here.pipeline(
        {
            "download": shell(keeps("page.html") + raises("page"), on="frontapi.new_link", emits="page"),
            "read": shell("true", on="page"),
            "detect": shell('cp "$ION_DIR"/in/data/* "$ION_DIR"/out/data', on="photo"),
        }
    )
    up = here.up()
    answer = up.post("/", json={"url": "http://example.com/"}).json()
    assert answer["type"] == "frontapi.new_link"
    assert up.post("/events/photo", data={"kind": "cat"}, **PHOTO).json()["type"] == "photo"
    until(lambda: here.released("read") and here.released("detect"))
    newer, older = json.loads(here.ion("flow", "list", "--json").out)
    assert [(flow["state"], flow["states"]) for flow in (newer, older)] == [
        ("quiet", {"released": 2}),
        ("quiet", {"released": 3}),
    ]
    assert older["correlation_id"] == answer["context"]["correlationId"]
    assert here.results("detect") == {"cat.jpg": "a cat"}
    (job,) = here.jobs("detect")
    assert job.event.data == {"kind": "cat"}
    until(lambda: up.program.out.count("✓ ") == 3)


def test_an_event_that_nobody_hears_is_refused(here: "Folder") -> None:
    """With the nearest type; the modules of the file are known from the first request on."""
    here.pipeline(DETECT)
    answer = here.up().post("/events/foto", **PHOTO)
    assert answer.status_code == 422
    assert "did you mean 'photo'?" in answer.json()["error"]


def test_a_busy_port_is_one_sentence(here: "Folder") -> None:
    """With exit code 1, for it may be free later, and what to do about it; no store is made."""
    here.pipeline(DETECT)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = here.ion("up", "--port", str(port), code=1)
    assert ended.said.startswith(f"the front API cannot listen on 127.0.0.1:{port}: Address already in use; ")
    assert ended.out == ""
    assert not here.store.exists()


def test_a_module_whose_secret_is_missing_is_held(here: "Folder") -> None:
    """One sentence says so; the other modules are served, and its jobs wait without a failure."""
    here.pipeline(
        {"detect": shell("true", on="photo", secrets={"API_KEY": "vision-key"}), "frame": shell("true", on="photo")}
    )
    up = here.up()
    assert "held: module detect needs the secret 'vision-key' (as API_KEY): " in up.program.err
    post_photo(up)
    until(lambda: here.released("frame"))
    (job,) = here.jobs("detect")
    assert (job.state, job.attempt) == (State.WAITING, 0)


def test_modules_that_were_added_are_served_by_the_next(here: "Folder") -> None:
    """It registers the file as it is now: what is new in it is heard, what is gone is not."""
    here.pipeline({"detect": shell("true", on="photo")})
    up = here.up()
    assert up.post("/events/clip").status_code == 415
    assert up.post("/events/clip", **PHOTO).status_code == 422
    up.program.signal(signal.SIGTERM)
    up.program.wait()
    here.pipeline({"cut": shell("true", on="clip")})
    up = here.up()
    assert up.post("/events/clip", **PHOTO).status_code == 200
    assert up.post("/events/photo", **PHOTO).status_code == 422
    until(lambda: here.released("cut"))


# ---- stopping ---------------------------------------------------------------------------------------------------


def test_a_request_to_end_lets_running_jobs_end(here: "Folder") -> None:
    """Within the grace; the front API takes nothing more, the job is released, and the exit code is 0."""
    up = begin(here, "--stop-grace", "600")
    up.program.signal(signal.SIGTERM)
    until(lambda: "stopping: running jobs have 600 s to end" in up.program.err)
    here.go()
    up.program.wait()
    assert here.released("detect")
    (job,) = here.jobs("detect")
    assert job.attempt == 1


ENDS_ITSELF = """
import os, signal, sys

class Out:
    def __init__(self, out):
        self._out = out

    def write(self, text):
        self._out.write(text)
        if "front API" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    def __getattr__(self, name):
        return getattr(self._out, name)

sys.stdout = Out(sys.stdout)
"""
"""What makes a program ask itself to end while it prints its address, as somebody quick would who reads it."""


def test_a_request_to_end_is_heeded_as_soon_as_the_address_is_known(here: "Folder") -> None:
    """It ends in order, with exit code 0, and is not killed by the signal."""
    here.pipeline(DETECT)
    (here.apart / "sitecustomize.py").write_text(ENDS_ITSELF)
    ended = here.start("up", "--port", "0", env={"PYTHONPATH": str(here.apart)}).wait()
    assert ended.out.startswith("front API: ")


def test_without_grace_running_jobs_are_given_back(here: "Folder") -> None:
    """Their processes are gone, nothing counts as a failure, and the next `ion up` runs them."""
    up = begin(here, "--stop-grace", "0")
    up.program.signal(signal.SIGTERM)
    up.program.wait()
    assert not alive(here.begun()[0])
    (job,) = here.jobs("detect")
    assert (job.state, job.attempt, job.failures) == (State.WAITING, 1, {})
    here.go()
    here.up()
    until(lambda: here.released("detect"))
    (job,) = here.jobs("detect")
    assert (job.attempt, job.failures) == (2, {})


def test_a_second_signal_ends_the_grace(here: "Folder") -> None:
    """Running jobs are given back at once; the exit code is still 0."""
    up = begin(here, "--stop-grace", "600")
    up.program.signal(signal.SIGTERM)
    until(lambda: "stopping: " in up.program.err)
    up.program.signal(signal.SIGINT)
    up.program.wait()
    assert not alive(here.begun()[0])
    assert len(here.jobs("detect", State.WAITING)) == 1


def test_a_killed_one_leaves_no_process_behind_the_next(here: "Folder") -> None:
    """Whatever the module had started is ended before its job runs again, which then is released."""
    script = (
        "trap '' TERM; [ ! -e go ] || exit 0; sleep 1000 & "
        """setsid -f sh -c 'echo "$$" >> begun; exec sleep 1000'; echo "$!" >> begun; """
    )
    here.pipeline({"detect": shell(script + WAITS, on="photo", retries={"backoff": "1ms"})})
    up = here.up()
    post_photo(up)
    until(lambda: len(here.begun()) == 3)
    up.program.kill()
    assert all(map(alive, here.begun()))
    here.go()
    here.up()
    until(lambda: here.released("detect"))
    assert not any(map(alive, here.begun()))
    (job,) = here.jobs("detect")
    assert (job.attempt, job.failures) == (2, {FailureClass.LOST: 1})


# ---- side by side -----------------------------------------------------------------------------------------------


def test_two_on_one_store_share_the_work(here: "Folder") -> None:
    """Jobs posted to one run in both, and each of them once."""
    script = 'echo "$ION_EVENT_ID" >> ran; echo "$PPID" >> by; sleep 0.2'
    here.pipeline({"detect": shell(script, on="photo", concurrency=2)})
    one, other = here.up(), here.up()
    # Until it knows of the other one, the first takes all that may run.
    while {int(pid) for pid in here.lines("by")} != {one.program.pid, other.program.pid}:
        for _ in range(4):
            post_photo(one)
        until(lambda: all(job.state is State.RELEASED for job in here.jobs("detect")))
    assert sorted(here.lines("ran")) == sorted(job.event.id for job in here.jobs("detect"))


def test_a_run_beside_it_leaves_its_modules_as_they_are(here: "Folder") -> None:
    """`ion run` of the same file does not take the retries of what `ion up` serves."""
    here.pipeline({"detect": shell("true", on="photo", retries=3)})
    here.up()
    here.run("--event", "photo")

    async def retries(stores: Stores) -> list[int]:
        return [registered.module.retries.module for registered in await stores.ledger.modules()]

    assert here.do(retries) == [3]
