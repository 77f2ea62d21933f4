"""R1, R2, R3 where rules share a module's jobs between this host and Azure Batch: `ion up`, which serves both, is
killed at random, again and again. On PostgreSQL, Azurite and the local service that speaks Batch's API.
"""

import secrets
import signal
import time
from collections import Counter

import msgspec
import pytest
from tests.acceptance.conftest import Pipeline
from tests.acceptance.test_batch_flow import modules_run, raised, tasks
from tests.acceptance.test_large_kills import seeded
from tests.batch_double.place import double, task_images
from tests.batch_double.service import BatchDouble
from tests.batch_double.signature import ACCOUNT, KEY
from tests.stores.azurite import KEY as BLOBS_KEY
from tests.stores.azurite import Azurite
from tests.stores.postgres_server import PostgresServer

from ion.management.audit import Severity
from ion.model.job import Job, State
from ion.model.manifest import Manifest

__all__ = ["double", "task_images"]

WIDTH, KILLS = 12, 4
TEXT = """
ion: 1
name: shared
ledger: {{kind: postgres, port: {rows.port}, database: {rows.database}, user: {rows.user}, schema: {rows.schema}}}
blobs: {{kind: azure, url: "{files.url}", account: {files.account}, endpoint: "{files.endpoint}", allow_http: true}}
front: {{port: 0}}
azurebatch: {{url: "{url}", account: {account}, pool: ion, handlerImage: "{handler}", poll: 300ms}}
defaults: {{image: "{shell}", runtime: process, retries: {{lost: 50, backoff: 10ms}}}}
modules:
  split:
    on: go
    emits: part
    command:
      - sh
      - -c
      - |
        for n in 0 1 2 3 4 5 6 7 8 9 10 11; do
            if [ $((n % 4)) = 0 ]; then size=2000; else size=10; fi
            head -c $size /dev/zero >"$ION_DIR/out/data/$n"
            printf '{{"type": "part", "files": ["%s"], "subject": "%s", "data": {{"n": %s}}}}' $n $n $n \\
                >"$ION_DIR/out/events/$n.json"
        done
  double:
    on: part
    concurrency: 20
    command: [sh, -c, 'sleep 1; cat "$ION_DIR"/in/data/* "$ION_DIR"/in/data/* >"$ION_DIR/out/data/twice"']
    route:
      - {{when: {{size: '>1000'}}, provider: azurebatch}}
      - {{when: {{filters: {{exact: {{data.n: '7'}}}}}}, provider: azurebatch, priority: 1}}
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
) -> Pipeline:
    """A folder with the pipeline file."""
    handler, shell = task_images
    files = azurite.fresh(f"r-{secrets.token_hex(8)}")
    said = {"rows": postgres.settings(), "files": files, "url": double.url, "account": ACCOUNT}
    pipeline.write(TEXT.format(**said, handler=handler, shell=shell))
    monkeypatch.setenv("ION_AZUREBATCH_KEY", KEY)
    monkeypatch.setenv("ION_BLOBS_ACCOUNT_KEY", BLOBS_KEY)
    return pipeline


def test_a_dispatcher_of_two_providers_outlives_any_kill(laid: Pipeline, double: BatchDouble) -> None:
    """Every job is done once where its rule says; what ran in Batch meanwhile was followed on, not run again.

    One that was claimed, but had no task yet, is another attempt.
    """
    chance = seeded()
    up = laid.start("up")
    flow = raised(laid)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.0, 3.0))  # a random point is the point
        up.send_signal(signal.SIGKILL)
        up.wait()
        up = laid.start("up")
    laid.ion("flow", "wait", flow)
    laid.until(lambda: not tasks(double))
    jobs = laid.jobs()
    assert Counter((job.module, job.state) for job in jobs if job.module != "frontapi") == {
        ("split", State.RELEASED): 1,
        ("double", State.RELEASED): WIDTH,
    }
    assert [finding for finding in laid.audit() if finding.severity is Severity.FAULT] == []
    away = {job.event.subject: job for job in jobs if job.module == "double" and in_batch(job)}
    assert set(away) == {"0", "4", "7", "8"}
    assert modules_run(double) == len(away)


def in_batch(job: Job) -> bool:
    """Whether a node of the pool did it."""
    assert job.manifest is not None
    return msgspec.json.decode(job.manifest.inline, type=Manifest).host.startswith("tvmps_ion_")
