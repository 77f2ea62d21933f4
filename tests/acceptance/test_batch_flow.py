"""A flow whose modules are tasks of Azure Batch: `ion up` as a process, PostgreSQL, Azurite, and the local service that
speaks Batch's API to the vendor's client and runs the tasks in containers.
"""

import json
import re
import secrets
import signal
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.acceptance.conftest import PATIENCE_S, Pipeline
from tests.batch_double.account import Task
from tests.batch_double.place import double, task_images
from tests.batch_double.service import BatchDouble
from tests.batch_double.signature import ACCOUNT, KEY
from tests.stores.azurite import KEY as BLOBS_KEY
from tests.stores.azurite import Azurite
from tests.stores.postgres_server import PostgresServer

from ion.model.job import State
from ion.model.manifest import Manifest

__all__ = ["double", "task_images"]

SECRET = "a secret of a module"
TEXT = """
ion: 1
name: letters
ledger: {{kind: postgres, port: {rows.port}, database: {rows.database}, user: {rows.user}, schema: {rows.schema}}}
blobs: {{kind: azure, url: "{files.url}", account: {files.account}, endpoint: "{files.endpoint}", allow_http: true}}
front: {{port: 0}}
azurebatch: {{url: "{url}", account: {account}, pool: ion, handlerImage: "{handler}", poll: 300ms}}
defaults: {{provider: azurebatch, image: "{shell}", retries: 1}}
modules:
  split:
    on: go
    emits: part
    secrets: {{TOKEN: token}}
    command:
      - sh
      - -c
      - |
        echo "splitting, $TOKEN"
        for n in 1 2 3; do
            echo "$n" >"$ION_DIR/out/data/$n.txt"
            echo '{{"type": "part", "files": ["'$n'.txt"], "data": {{"n": "'$n'"}}}}' >"$ION_DIR/out/events/$n.json"
        done
  double:
    on: part
    command:
      - sh
      - -c
      - |
        touch "$ION_DIR/begun"
        until [ -e "$ION_DIR/{gate}" ]; do sleep 0.1; done
        cat "$ION_DIR"/in/data/*.txt "$ION_DIR"/in/data/*.txt >"$ION_DIR/out/data/twice.txt"
        echo '{{"twice": true}}' >"$ION_DIR/out/insights.json"
"""


@pytest.fixture
def laid(
    pipeline: Pipeline,
    double: BatchDouble,
    *,
    postgres: PostgresServer,
    azurite: Azurite,
    task_images: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Pipeline:
    """A folder with the pipeline file; the jobs of `double` wait for a file `go`, where the test says so."""
    handler, shell = task_images
    files = azurite.fresh(f"p-{secrets.token_hex(8)}")
    said = {"rows": postgres.settings(), "files": files, "url": double.url, "account": ACCOUNT}
    gate = getattr(request, "param", "in")
    pipeline.write(TEXT.format(**said, handler=handler, shell=shell, gate=gate))
    environ = {"ION_AZUREBATCH_KEY": KEY, "ION_BLOBS_ACCOUNT_KEY": BLOBS_KEY, "token": SECRET}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return pipeline


def raised(pipeline: Pipeline) -> str:
    """A root event, by the front API that `ion up` serves; its flow."""
    output = pipeline.folder / "output"
    said: list[str] = []

    def told() -> bool:
        said[:] = re.findall(r"front API: (http://\S+)", output.read_text())
        return bool(said)

    pipeline.until(told)
    answer = httpx.post(f"{said[-1]}events/go", files={"who": (None, "me")}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["context"]["correlationId"])


def check(pipeline: Pipeline, double: BatchDouble) -> None:
    """Each module did its part, once, on a node; nothing is left in the account."""
    pipeline.until(lambda: not tasks(double))
    jobs = pipeline.jobs()
    assert Counter((job.module, job.state, job.attempt) for job in jobs) == {
        ("frontapi", State.RELEASED, 1): 1,
        ("split", State.RELEASED, 1): 1,
        ("double", State.RELEASED, 1): 3,
    }
    ours = [job.manifest.inline for job in jobs if job.manifest and job.module != "frontapi"]
    manifests = [msgspec.json.decode(text, type=Manifest) for text in ours]
    assert all(re.fullmatch("tvmps_ion_[0-9]+", manifest.host) for manifest in manifests)
    assert pipeline.audit() == []


def test_a_flow_passes_through_azure_batch(laid: Pipeline, double: BatchDouble) -> None:
    """Two modules, four tasks: results, logs without the secret's value, an audit without findings, no task left."""
    laid.start("up")
    flow = raised(laid)
    laid.ion("flow", "wait", flow)
    check(laid, double)
    records = json.loads(laid.ion("trace", "flow", "-c", flow))
    kinds = Counter(record["context"]["documentType"] for record in records)
    assert (kinds["insight"], kinds["modulelogs"]) == (3, 4)
    (split,) = laid.jobs("split")
    log = laid.ion("job", "logs", split.id)
    assert "splitting, ***" in log
    assert SECRET not in log


@pytest.mark.parametrize("laid", ["go"], indirect=True)
def test_a_killed_dispatcher_finds_its_tasks_again(laid: Pipeline, double: BatchDouble) -> None:
    """Killed while three tasks run; the next one follows them on: nothing is added twice, no attempt is lost."""
    up = laid.start("up")
    flow = raised(laid)
    laid.until(lambda: [(place(task) / "begun").exists() for task in tasks(double)] == [True] * 3)  # `split` is cleared
    running = [place(task) for task in tasks(double)]
    up.send_signal(signal.SIGKILL)
    up.wait()
    laid.start("up")
    for folder in running:
        (folder / "go").touch()
    laid.ion("flow", "wait", flow)
    check(laid, double)
    assert modules_run(double) == 4


def tasks(double: BatchDouble) -> list[Task]:
    return [task for found in list(double.account.tasks.values()) for task in list(found.values())]


def modules_run(double: BatchDouble) -> int:
    """How often a node has run a module."""
    calls = (double.account.nodes / "called").read_text().splitlines()
    return sum(call.startswith("run") and "-module" in call for call in calls)


def place(task: Task) -> Path:
    """The folder that its module works in, as this host sees it."""
    return task.folder / "wd/work/ion"
