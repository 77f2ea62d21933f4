"""`ion job`: listing, showing, following, retrying and cancelling jobs."""

import subprocess
import sys
from typing import TYPE_CHECKING

from ion.model.event import Event
from ion.model.job import Hold, State

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


def test_list_shows_jobs_in_aligned_columns(bench: "Bench", flow: Event) -> None:
    """The table has a row a job, in the order of admission, with state, attempts and failure."""
    header, *rows = bench.ion("job", "list").stdout.splitlines()
    assert header.split() == ["JOB", "MODULE", "STATE", "TRY", "ADMITTED", "TOOK", "EVENT", "SUBJECT", "FAILURE"]
    assert [row.split()[1:4] for row in rows] == [
        ["cli", "released", "1"],
        ["detect", "released", "1"],
        ["count", "dead", "1"],
    ]
    assert rows[2].endswith("module: exit code 3")
    assert {row.index(state) for row, state in zip(rows, ("released", "released", "dead"), strict=True)} == {
        header.index("STATE")
    }


def test_list_is_narrowed_by_module_state_and_flow(bench: "Bench", flow: Event) -> None:
    """Each filter narrows; several states add up; a flow is named by the beginning of its id."""
    bench.photo("album-3")
    modules = [job["module"] for job in bench.json("job", "list", "-n", "detect", "--json")]
    assert modules == ["detect", "detect"]
    states = bench.json("job", "list", "--state", "dead", "--state", "waiting", "--json")
    assert [job["state"] for job in states] == ["dead", "waiting"]
    for option in ("-c", "--flow"):
        assert len(bench.json("job", "list", option, "album", "--json")) == 2
    assert "there is no flow 'zzz'" in bench.ion("job", "list", "-c", "zzz", code=2).stderr


def test_list_keeps_to_its_limit_and_says_so(bench: "Bench", flow: Event) -> None:
    """Of more jobs than the limit the latest are shown, and how many there are."""
    result = bench.ion("job", "list", "--limit", "1")
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["MODULE", "count"]
    assert "the latest 1 of 3 jobs" in result.stderr


def test_list_of_nothing_is_an_empty_array(bench: "Bench") -> None:
    """Scripts get a document also where there is no job."""
    assert bench.json("job", "list", "--json") == []


def test_show_tells_all_about_a_job(bench: "Bench", flow: Event) -> None:
    """The page has the job's state, event, data, files, insights, events, history and the end of its log."""
    (job,) = bench.jobs("detect")
    page = bench.ion("job", "show", job.id[:8]).stdout
    for text in (
        job.id,
        "released, attempt 1",
        flow.id,
        "kind = cat",
        "cat.jpg  5 B",
        "boxed.jpg  14 B",
        "faces = 2",
        "face ",
        "running, attempt 1, by bench",
        "two faces found",
    ):
        assert text in page, text


def test_show_tells_why_a_job_is_dead(bench: "Bench", flow: Event) -> None:
    """A dead job's page has the failure and its log."""
    (job,) = bench.jobs("count")
    page = bench.ion("job", "show", job.id).stdout
    assert "failure    module: exit code 3" in page
    assert "it broke" in page


def test_show_gives_one_document_for_scripts(bench: "Bench", flow: Event) -> None:
    """`--json` holds the row and the results, whose text is not repeated inside the row."""
    (job,) = bench.jobs("detect")
    document = bench.json("job", "show", job.id[:8], "--json")
    assert (document["id"], document["state"], document["attempt"]) == (job.id, "released", 1)
    assert [file["path"] for file in document["results"]["files"]] == ["boxed.jpg"]
    assert "inline" not in document["manifest"]


def test_foreign_text_cannot_steer_the_terminal(bench: "Bench") -> None:
    """Control characters of subjects and failures do not reach the terminal."""
    bench.photo()
    job = bench.fail("detect", "bad \x1b[31mred\nforged line \u202e")
    for arguments in (("job", "list"), ("job", "show", job.id), ("trace", "flow", "--tree", "-c", job.correlation_id)):
        text = bench.ion(*arguments).stdout
        assert "bad  [31mred forged line" in text
        assert not set(text) & {"\x1b", "\u202e"}


def test_an_ambiguous_id_is_refused_with_the_candidates(bench: "Bench") -> None:
    """The beginning of an id that fits several jobs exits with 2 and names them."""
    for number in range(17):  # of 17 hexadecimal ids two begin alike
        bench.photo(f"flow-{number}")
    ids = [job["id"] for job in bench.json("job", "list", "--json")]
    first = next(letter for letter in "0123456789abcdef" if sum(i.startswith(letter) for i in ids) > 1)
    refused = bench.ion("job", "show", first, code=2).stderr
    assert f"several jobs begin with '{first}'" in refused
    assert next(i for i in ids if i.startswith(first)) in refused


def test_an_unknown_id_is_refused(bench: "Bench", flow: Event) -> None:
    """Every command on a job that is not there exits with 2 and says where to look."""
    for command in ("show", "logs", "retry", "cancel"):
        sentence = "Error: there is no job 'ffffffff-no': `ion job list` shows those there are\n"
        assert bench.ion("job", command, "ffffffff-no", code=2).stderr.endswith(sentence)


def test_logs_prints_the_stored_log(bench: "Bench", flow: Event) -> None:
    """The log comes as it was written, of good jobs and of dead ones."""
    (good,), (dead,) = bench.jobs("detect"), bench.jobs("count")
    assert bench.ion("job", "logs", good.id[:8]).stdout_bytes == b"looking at cat.jpg\ntwo faces found\n"
    assert bench.ion("job", "logs", dead.id[:8]).stdout == "it broke\n"


def test_logs_says_that_there_is_none(bench: "Bench") -> None:
    """A job that has not started prints nothing, and says so beside."""
    bench.photo()
    (job,) = bench.jobs("detect")
    result = bench.ion("job", "logs", job.id)
    assert (result.stdout, "is waiting and has logged nothing" in result.stderr) == ("", True)


def test_logs_follows_a_running_job_to_its_end(bench: "Bench") -> None:
    """`-f` prints what the attempt has logged, what it logs then, and ends with the job."""
    bench.photo()
    job = bench.claim("detect")
    spool = bench.store / "work" / f"{job.id}-{job.attempt}-maker-0" / "log"
    spool.parent.mkdir()
    spool.write_bytes(b"one\n")
    assert bench.ion("job", "logs", job.id).stdout == "one\n"
    command = [sys.executable, "-m", "ion.cli.main", "--store", str(bench.store), "job", "logs", "-f", job.id[:8]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        with spool.open("ab") as log:
            log.write(b"two\n")
        assert process.stdout.readline() == b"two\n"
        bench.bury(job, log=b"one\ntwo\nthree\n")
        assert process.stdout.read() == b"three\n"
    assert process.returncode == 0


def test_retry_queues_dead_jobs_again(bench: "Bench", flow: Event) -> None:
    """A dead job waits again; the answer names it."""
    (job,) = bench.jobs("count")
    assert bench.ion("job", "retry", job.id[:8]).stdout == f"{job.id} waits again\n"
    assert bench.job(job.id).state is State.WAITING


def test_retry_refuses_jobs_that_are_not_dead_and_changes_none(bench: "Bench", flow: Event) -> None:
    """One job that cannot be retried refuses them all, with its state."""
    (dead,), (released,) = bench.jobs("count"), bench.jobs("detect")
    refused = bench.ion("job", "retry", dead.id, released.id, code=2).stderr
    assert (
        f"job {released.id} is released: only dead and cancelled jobs, and those held by a guard, can be retried"
        in refused
    )
    assert bench.job(dead.id).state is State.DEAD


def test_retry_in_a_cancelled_flow_is_refused(bench: "Bench", flow: Event) -> None:
    """A job of a cancelled flow stays, and the answer says what to do instead."""
    (job,) = bench.jobs("count")
    bench.ion("flow", "cancel", flow.correlation_id)
    assert "raise its root event anew" in bench.ion("job", "retry", job.id, code=2).stderr


def test_cancel_ends_waiting_and_running_jobs(bench: "Bench") -> None:
    """A waiting job is cancelled at once; a running one is marked for its dispatcher."""
    bench.photo("a")
    bench.photo("b")
    running = bench.claim("detect")
    (waiting,) = bench.jobs("detect", State.WAITING)
    said = bench.ion("job", "cancel", waiting.id, running.id[:8]).stdout
    assert said == f"{waiting.id} is cancelled\n{running.id} is being ended\n"
    assert bench.job(waiting.id).state is State.CANCELLED
    assert bench.job(running.id).cancelling
    bench.ion("job", "retry", waiting.id)
    assert bench.job(waiting.id).state is State.WAITING


def test_cancel_refuses_jobs_that_ended(bench: "Bench", flow: Event) -> None:
    """A job that has ended exits with 2 and its state."""
    (job,) = bench.jobs("detect")
    assert f"job {job.id} is released: only waiting and running" in bench.ion("job", "cancel", job.id, code=2).stderr


def test_a_held_job_says_why(bench: "Bench") -> None:
    """A waiting job of a paused flow is shown as held."""
    bench.photo("album-3")
    bench.ion("flow", "pause", "album")
    (job,) = bench.jobs("detect")
    assert job.hold is Hold.FLOW
    assert "waiting (held: flow)" in bench.ion("job", "list").stdout
