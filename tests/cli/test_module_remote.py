"""`ion module` and `ion apply` on an `ion up` elsewhere: real processes, TLS with certificates on both sides."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.programs import Ended, Folder, Serving, shell, until

from ion.model.job import State

PHOTO = {"files": {"file": ("a.jpg", b"a cat")}}


class Remote:
    """A served pipeline, and clients of its management API, who have roles."""

    def __init__(self, here: Folder, up: Serving, port: str) -> None:
        self.here, self.up, self.endpoint = here, up, f"localhost:{port}"

    def tls(self, client: str) -> tuple[str, ...]:
        certs = self.here.path / "certs"
        return (
            *("--certfile", f"{certs}/clients/{client}.pem", "--keyfile", f"{certs}/clients/{client}.key"),
            *("--cacertfile", f"{certs}/ca.pem"),
        )

    def ion(self, *arguments: str, client: str = "alice", code: int = 0) -> Ended:
        """Behind `--` stands what is the module's; options of ours come before."""
        return self.here.ion("--endpoint", self.endpoint, *self.tls(client), *arguments, code=code)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ion(*arguments, "--json").out)


@pytest.fixture
def remote(here: Folder) -> Remote:
    """`ion up` with a module `detect`; `alice` is an admin, `victor` may only look."""
    here.ion("certs", "init", "--folder", "certs")
    for name, role in (("alice", "admin"), ("victor", "viewer")):
        here.ion("certs", "client", "--folder", "certs", "--name", name, "--role", role)
    served = {"certificate": "certs/server.pem", "key": "certs/server.key", "ca": "certs/ca.pem"}
    here.pipeline({"detect": shell("true", on="photo")}, management={**served, "host": "127.0.0.1"})
    up = here.up("--management-port", "0")
    pattern = re.compile(r"^management API: 127\.0\.0\.1:(\d+) \(TLS\)$", re.MULTILINE)
    until(lambda: pattern.search(up.program.out + up.program.err) is not None)
    found = pattern.search(up.program.out + up.program.err)
    assert found is not None
    return Remote(here, up, found[1])


def test_a_module_lives_and_ends_by_the_api(remote: Remote) -> None:
    """Created, it gets the next event without a restart; looked at, scaled, rolled back, paused, resumed, deleted."""
    created = ("module", "create", "-n", "count", "-i", "clip", "-p", "local", "--", "sh", "-c", "echo counted")
    deployed = remote.ion(*created).out.strip()
    assert re.fullmatch(r"count-[0-9a-f]{8}", deployed)
    assert remote.up.post("/events/clip", **PHOTO).status_code == 200
    until(lambda: remote.here.released("count"))
    assert remote.ion("module", "logs", "-n", deployed).out.endswith("counted\n")
    assert remote.ion("module", "scale", "count", "3").out == "~ count: concurrency 1 → 3\n"
    assert remote.ion("module", "rollback", "count").out == "~ count: concurrency 3 → 1\n"
    assert [one["name"] for one in remote.json("module", "list")] == ["count", "detect"]
    assert "count" in remote.ion("module", "list").out
    assert remote.ion("module", "pause", "count").out == "module count is paused\n"
    assert remote.json("module", "get", "count")["status"] == "paused"
    remote.ion("module", "resume", "count")
    until(lambda: len(remote.json("module", "describe", "count")["served_by"]) == 1)
    assert remote.ion("module", "delete", deployed, "--cancel").out == "deleted count\n"
    history = remote.json("module", "history", "count")
    assert [past["actor"] for past in history] == ["alice"] * 4
    assert history[0]["removed"]
    assert remote.up.post("/events/clip", **PHOTO).status_code == 422


def test_an_image_of_another_provider_waits_for_its_executor(remote: Remote) -> None:
    """The original's defaults hold over the wire; its jobs wait, and it says that nobody serves it."""
    remote.ion("module", "create", "-n", "far", "-i", "photo", "-o", "face", "-m", "ghcr.io/acme/far:1")
    assert remote.up.post("/events/photo", **PHOTO).status_code == 200
    until(lambda: remote.here.released("detect"))
    far = remote.json("module", "get", "-n", "far")
    assert (far["status"], far["jobs"]) == ("unserved", {"waiting": 1})
    assert far["module"]["provider"] == "kubernetes"
    remote.ion("module", "delete", "-n", far["deployed"])
    until(lambda: [job.state for job in remote.here.jobs("far")] == [State.DEAD])


def test_a_pipeline_is_handed_over(remote: Remote, tmp_path: Path) -> None:
    """To the endpoint that its file names; the difference is told, and a dry run changes nothing."""
    file = tmp_path / "other" / "ion.yaml"
    file.parent.mkdir()
    count = {"command": ["sh", "-c", "echo counted"], "on": "clip"}

    def write(**module: Any) -> None:
        modules = {"count": {**count, **module}}
        file.write_text(json.dumps({"ion": 1, "name": "media", "endpoint": remote.endpoint, "modules": modules}))

    def apply(*arguments: str) -> str:
        return remote.here.ion("apply", str(file), *remote.tls("alice"), *arguments).out

    write()
    assert apply("--dry-run") == "+ count\n1 added (nothing was changed)\n"
    assert apply() == "+ count\n1 added\n"
    assert apply() == "1 unchanged\n"
    assert remote.up.post("/events/clip", **PHOTO).status_code == 200
    until(lambda: remote.here.released("count"))
    write(timeout="2h", env={"A": "1"})
    assert apply("--prune") == "~ count:\n    env.A (none) → 1\n    timeout_s 3600 → 7200\n1 changed\n"
    file.write_text(file.read_text().replace("count", "recount"))
    assert apply("--prune") == "- count\n+ recount\n1 added, 1 removed\n"
    assert [one["name"] for one in remote.json("module", "list")] == ["detect", "recount"]


def test_what_the_server_refuses_is_one_sentence(remote: Remote) -> None:
    """A module that cannot be used, a name of another pipeline, one that is not there, a role that may not."""
    create = ("module", "create", "-n", "count", "-i", "clip")
    assert "module count: 'Acme' cannot be an image's name" in remote.ion(*create, "-m", "Acme", code=2).said
    assert "did you mean 'detect'?" in remote.ion("module", "history", "detct", code=2).said
    assert "this needs the role" in remote.ion(*create, "-m", "acme/x", client="victor", code=2).said
    assert "this needs the role" in remote.ion("module", "delete", "detect", client="victor", code=2).said
    assert remote.ion("module", "get", "detect", client="victor").out.startswith("name       detect-")
    remote.here.write("theirs.yaml", json.dumps({"ion": 1, "name": "theirs", "modules": {"detect": {"image": "a"}}}))
    assert "detect belongs to the pipeline (unnamed)" in remote.ion("apply", "theirs.yaml", code=2).said
