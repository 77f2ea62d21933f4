"""The texts of a bundle."""

README = """\
# A job of `{module}`, to be repeated

Job `{job}`, attempt {attempt}. It ran {ran}; what it ran on is in `in/`.

```sh
pip install ion-events pytest
{settings}pytest test_repro.py
```

The test runs the module on these inputs, and {came}.
A module whose output differs each time needs another comparison: the test is yours to change, and so is `module.json`.

{notes}"""

TEST = '''\
"""Runs the module `{module}` on the inputs of job {job}, and compares what it leaves with what the job left."""

import hashlib
import json
import os
from pathlib import Path

from ion.testing import run_module

HERE = Path(__file__).parent
MODULE = json.loads((HERE / "module.json").read_text())
EXPECTED = json.loads((HERE / "expected.json").read_text())


def test_it_does_what_the_job_did():
    """As long as the job's module fails on these inputs, so does this."""
    data = HERE / "in/data"
    run = run_module(
        MODULE["command"],
        name=MODULE["name"],
        image=MODULE["image"],
        emits=MODULE["emits"],
        env=MODULE["env"],
        secrets={{variable: os.environ[variable] for variable in MODULE["secrets"]}},
        event=HERE / "in/event.json",
        files={{path.relative_to(data).as_posix(): path for path in data.rglob("*") if path.is_file()}},
        cwd=HERE / "program",
        timeout_s=MODULE["timeout_s"],
    )
    if "failure" in EXPECTED:
        return
    found = {{path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in run.files.items()}}
    assert found == {{path: file["sha256"] for path, file in EXPECTED["files"].items()}}
    assert run.insights == EXPECTED["insights"]
    assert len(run.events) == len(EXPECTED["events"])
    for event, expected in zip(run.events, EXPECTED["events"]):
        assert (event.type, event.subject, list(event.files)) == (
            expected["type"],
            expected["subject"],
            expected["files"],
        )
        assert event.data == expected.get("data", event.data)
'''
