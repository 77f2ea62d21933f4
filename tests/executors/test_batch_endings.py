"""How a task's end is judged: by the node's report and, where that is gone, by what Batch says of the task."""

import msgspec
import pytest

from ion.adapters.executors.azurebatch.ending import failure_of, read_report
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.azurebatch.watch import Row
from ion.model.job import Failure, FailureClass
from ion.model.module import Module
from ion.ports.executor import Handle

MODULE = Module(name="m", image="i", timeout_s=60.0, start_timeout_s=60.0, grace_s=10.0)
SETTINGS = BatchSettings(pool="p", slack_s=10.0)
ROW = Row(
    handle=Handle(scope="s", job="j", attempt=1),
    job="b",
    task="t",
    state="completed",
    created_s=1.0,
    changed_s=20.0,
    started_s=10.0,
    ended_s=20.0,
)
PREPARED = 'ended prepare 0 false \ntold prepare {"execution":"x","prepared_at_s":1.0}\nbegun module 12.0\n'
COMMITS_BADLY = """ended module 0 false
ended commit 1 false
told commit {"failure":{"kind":"contract","message":"bad"}}
"""


def judged(report: str, **row: object) -> Failure | None:
    return failure_of(msgspec.structs.replace(ROW, **row), read_report(report.encode()), MODULE, SETTINGS)


@pytest.mark.parametrize(
    ("report", "kind", "message"),
    [
        ("ended module 3 false \n", FailureClass.MODULE, "exit code 3"),
        ("ended module 139 false \n", FailureClass.MODULE, "killed by SIGSEGV"),
        ("ended module 137 true \n", FailureClass.MEMORY, "killed by SIGKILL: out of memory"),
        (
            "ended module 137 false \n",
            FailureClass.LOST,
            "killed by SIGKILL, by hand or by another program of its node",
        ),
        ("ended module 137 false late\n", FailureClass.TIMEOUT, "it ran longer than its time limit of 60 s"),
        ("ended module 0 false late\n", FailureClass.TIMEOUT, "it ran longer than its time limit of 60 s"),
        ("refused module 127 no such file \n", FailureClass.CONTRACT, "the module could not be started: no such file"),
        ("refused module 125 no room\n", FailureClass.INFRASTRUCTURE, "the module could not be started: no room"),
        (
            COMMITS_BADLY,
            FailureClass.CONTRACT,
            "bad",
        ),
        (
            "ended module 0 false \nended commit 137 true \n",
            FailureClass.INFRASTRUCTURE,
            "commit ended with killed by SIGKILL and did not say why; see the log",
        ),
    ],
)
def test_the_report_says_what_happened(report: str, kind: FailureClass, message: str) -> None:
    """The same words as on one machine; a fault of Ion's own is never the module's."""
    failure = judged(PREPARED + report, exit_code=125)
    assert failure is not None
    assert (failure.kind, failure.message) == (kind, message)


def test_a_commit_that_ended_well_is_a_success_whatever_befell_the_task() -> None:
    """Its manifest is written."""
    assert judged(f"{PREPARED}ended module 0 false \nended commit 0 false \n", code="TaskEnded") is None


def test_trouble_on_the_node_is_told_as_it_says() -> None:
    """An image that cannot be pulled, say."""
    failure = judged("trouble the image x cannot be pulled: no\n", exit_code=125)
    assert failure == Failure(kind=FailureClass.INFRASTRUCTURE, message="the image x cannot be pulled: no")


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"exit_code": 9}, FailureClass.MODULE, "exit code 9"),
        ({"exit_code": 124}, FailureClass.TIMEOUT, "it ran longer than its time limit of 60 s"),
        ({"exit_code": 125}, FailureClass.INFRASTRUCTURE, "a step of Ion's failed on the node, whose report"),
        (
            {"code": "TaskEnded", "message": "By User"},
            FailureClass.LOST,
            "its task was ended by somebody else: By User",
        ),
        (
            {"code": "DiskFull", "category": "usererror", "message": "full"},
            FailureClass.INFRASTRUCTURE,
            "its task failed on the node (DiskFull): full",
        ),
        (
            {"category": "servererror"},
            FailureClass.LOST,
            "its task failed on the node (no code): Batch does not say why",
        ),
        ({"exit_code": 137}, FailureClass.LOST, "its task failed on the node"),
        (
            {"started_s": 0.0, "code": "BlobAccessDenied", "category": "usererror", "message": "denied"},
            FailureClass.INFRASTRUCTURE,
            "its task could not be started (BlobAccessDenied): denied",
        ),
        ({"ended_s": 220.0, "code": "TaskEnded"}, FailureClass.INFRASTRUCTURE, "Batch ended its task after 210 s"),
        ({"started_s": 0.0, "code": "TaskEnded"}, FailureClass.LOST, "its task was ended by somebody else"),
    ],
)
def test_without_a_report_batch_says_it(row: dict[str, object], kind: FailureClass, message: str) -> None:
    """Exit code, failure information: what a lost node is blamed for burns none of the module's retries."""
    failure = judged("", **row)
    assert failure is not None
    assert (failure.kind, failure.message[: len(message)]) == (kind, message)


def test_a_module_that_batch_ended_at_its_limit_was_late() -> None:
    """It had begun, so it took the time."""
    failure = judged(PREPARED, ended_s=220.0, code="TaskEnded")
    assert failure is not None
    assert failure.kind is FailureClass.TIMEOUT


def test_the_report_says_when_the_module_ran() -> None:
    """By the node's clock, for the traces; a line that was cut says nothing."""
    report = read_report(f"{PREPARED}over module 13.5\n".encode())
    assert (report.began_s, report.ended_s) == (12.0, 13.5)
    assert read_report(b"begun module \nover modu").began_s == 0.0


def test_lines_that_cannot_be_read_say_nothing() -> None:
    """The node may have died in the middle of one."""
    report = read_report(b'ended prepare 0 false \ntold prepare {"exec\nended modu\nended module x\n\xff')
    assert (report.execution, list(report.steps)) == ("", ["prepare"])
