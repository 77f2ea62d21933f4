"""How `ion handler` ends, whatever befalls it: one sentence, what the dispatcher has to know, and no traceback."""

import asyncio
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from tests.handler.apart import CONTENT, ROOT, Apart, Ended, apart, behind, has
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.seaweed import Seaweed

from ion.model.told import MOST, Told, ToldFailure, encode
from ion.ports.blobs import Grant
from ion.wiring.handler import Opening

pytestmark = ROOT
GONE = 128 + signal.SIGTERM
NOT_FOR_A_HANDLER = (
    "grpc",
    "lightkube",
    "rich",
    "yaml",
    "sqlite3",
    "psycopg",
    "pymongo",
    "starlette",
    "urllib.request",
)


@pytest.fixture
async def attempt(seaweed: Seaweed) -> AsyncIterator[Apart]:
    async with apart(seaweed.role(seaweed.fresh(f"t-{uuid.uuid4().hex}"))) as made:
        yield made


def failed(ended: Ended, kind: str) -> str:
    """The sentence of a failure, which is the same everywhere."""
    assert ended.code == 1, ended.error
    assert ended.told is not None
    assert ended.told.failure is not None
    assert ended.told.failure.kind == kind
    assert ended.error == f"Error: {ended.told.failure.message}\n"
    return ended.told.failure.message


@pytest.mark.parametrize("name", ["assignment.json", "blobs.json"])
@pytest.mark.parametrize("step", ["prepare", "commit"])
async def test_a_missing_file_is_named(attempt: Apart, step: str, name: str) -> None:
    """The Secret is not as it should be: that is trouble of the platform's, and no fault of the job."""
    (attempt.files / name).unlink()
    ended = await (attempt.prepare() if step == "prepare" else attempt.commit())
    assert failed(ended, "infrastructure") == (
        f"the handler was not given {attempt.files / name}: No such file or directory"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("assignment.json", b'{"job": 1'),
        ("assignment.json", b'{"job": 1, "revision": 2}'),
        ("blobs.json", b"{}"),
        ("blobs.json", b"\xff"),
        ("blobs.json", b'{"grant": {"adapter": "new", "ends_at": "2030-01-01T00:00:00Z", "content": {}}}'),
        ("blobs.json", b'{"grant": {"adapter": "objects", "ends_at": "2030-01-01T00:00:00Z", "content": {"a": 1}}}'),
        ("blobs.json", b'{"store": {"url": "ftp://x"}}'),
    ],
)
async def test_files_of_another_version_are_no_fault_of_the_job(attempt: Apart, name: str, content: bytes) -> None:
    """A job must not die for good because the handler's image is older or newer than the dispatcher."""
    (attempt.files / name).write_bytes(content)
    sentence = failed(await attempt.prepare(), "infrastructure")
    assert "\n" not in sentence
    assert not attempt.directory.exists()


async def test_a_store_that_refuses_its_own_key_is_no_fault_of_the_job(attempt: Apart) -> None:
    """The store's settings, for one that cannot narrow, may be out of date: another attempt gets the present ones."""
    wrong = msgspec.structs.replace(attempt.settings, secret_access_key="wrong", role="")
    (attempt.files / "blobs.json").write_bytes(msgspec.json.encode(Opening(store=wrong)))
    assert "wrong" not in failed(await attempt.prepare(), "infrastructure").replace("wrong key", "")


async def test_threads_of_the_store_do_not_abort_a_process_that_ends(attempt: Apart) -> None:
    """Calls that are cut short leave threads behind that come back for Python when it is no longer there."""
    wrong = msgspec.structs.replace(attempt.settings, secret_access_key="wrong", role="")
    (attempt.files / "blobs.json").write_bytes(msgspec.json.encode(Opening(store=wrong)))
    for _ in range(4):
        assert {ended.code for ended in await asyncio.gather(*(attempt.prepare() for _ in range(6)))} == {1}


async def test_a_store_that_cannot_narrow_serves_by_its_settings(attempt: Apart) -> None:
    """Prepare, module and commit, with the store's own credential in the place of a grant."""
    plain = msgspec.structs.replace(attempt.settings, role="")
    (attempt.files / "blobs.json").write_bytes(msgspec.json.encode(Opening(store=plain)))
    assert (await attempt.prepare()).code == 0
    await attempt.module("cp in/data/a.txt out/data/b.txt")
    manifest = await attempt.manifest(await attempt.commit())
    assert await attempt.content(manifest) == {"b.txt": CONTENT}


async def test_a_grant_that_is_over_says_since_when(attempt: Apart) -> None:
    """Nothing of its secrets is in the sentence, nor in what a traceback or a log would show of it."""
    given = msgspec.json.decode((attempt.files / "blobs.json").read_bytes(), type=Opening)
    assert given.grant is not None
    assert attempt.settings.access_key_id not in repr(given)
    over = msgspec.to_builtins(given.grant)
    over["ends_at"] = "2020-01-01T00:00:00Z"
    for credential in (over["content"]["writes"], *(key["credential"] for key in over["content"]["keys"])):
        credential["session_token"] = "over"
    grant = msgspec.convert(over, Grant)
    (attempt.files / "blobs.json").write_bytes(msgspec.json.encode(Opening(grant=grant)))
    assert "is over since 2020-01-01" in failed(await attempt.prepare(), "infrastructure")


async def test_a_broken_contract_is_told_as_such(attempt: Apart) -> None:
    """The dispatcher gets the same sentence as from a local run."""
    assert (await attempt.prepare()).code == 0
    await attempt.module("""echo '{"type": "fuond"}' > out/events/a.json""")
    assert failed(await attempt.commit(), "contract") == (
        "out/events/a.json raises 'fuond', which the module does not declare in its emits; did you mean 'found'?"
    )


@pytest.mark.parametrize("sentence", ["a" * 10_000, "é" * 10_000, "\x00" * 10_000])
def test_a_long_sentence_is_cut_to_fit_a_containers_last_message(sentence: str) -> None:
    """Its beginning is kept, whatever it takes as JSON, and how it failed."""
    raw = encode(Told(failure=ToldFailure(kind="module", message=sentence)))
    assert len(raw) <= MOST
    failure = msgspec.json.decode(raw, type=Told).failure
    assert failure is not None
    assert failure.kind == "module"
    assert failure.message.endswith("…")
    assert sentence.startswith(failure.message[:-1])
    assert len(failure.message) > 200


async def test_a_commit_without_a_prepare_says_what_is_missing(attempt: Apart) -> None:
    """The volume lost what was in it."""
    assert "what prepare left in" in failed(await attempt.commit(), "infrastructure")


async def test_a_volume_that_cannot_be_written_is_named(attempt: Apart) -> None:
    """By prepare, which is not root."""
    attempt.volume.chmod(0o755)
    sentence = failed(await attempt.prepare(), "infrastructure")
    assert sentence.startswith(f"the job's directory {attempt.directory} cannot be used: Permission denied")


async def test_a_termination_log_that_cannot_be_written_changes_nothing(attempt: Apart) -> None:
    """What was done is done: the dispatcher finds the manifest by looking for it."""
    assert (await attempt.prepare()).code == 0
    attempt.environment["ION_TERMINATION_LOG"] = str(attempt.volume / "no" / "log")
    ended = await attempt.commit()
    assert ended.code == 0
    assert ended.error.startswith("Warning: what became of it cannot be written to")
    assert [path.rpartition("/")[2] for path in await attempt.stored()] == ["manifest.json"]


@pytest.mark.parametrize("variable", ["ION_BASE_DIR", "ION_HANDLER_FILES"])
async def test_who_starts_it_by_hand_is_told_what_is_not_set(attempt: Apart, variable: str) -> None:
    """It is not a person's command, and says so."""
    attempt.environment[variable] = ""
    ended = await attempt.prepare()
    assert (ended.code, ended.told) == (2, None)
    assert ended.error == f"Error: {variable} is not set: an executor starts `ion handler`, and sets it\n"


@pytest.mark.parametrize("fate", [Fate.HANG, Fate.BUSY])
@pytest.mark.parametrize("step", ["prepare", "commit"])
async def test_it_goes_when_it_is_told_to(seaweed: Seaweed, step: str, fate: Fate) -> None:
    """SIGTERM in the midst of a transfer, or of waiting for the store: it says nothing more, and is gone soon."""
    async with (
        HttpProxy(seaweed.port) as proxy,
        behind(proxy, seaweed, retries=1000, retry_for_s=600.0, timeout_s=600.0) as attempt,
    ):
        if step == "commit":
            assert (await attempt.prepare()).code == 0
            await attempt.module("echo mine > out/data/mine.txt")
        met = proxy.always(fate, "PUT" if step == "commit" else "GET")
        async with attempt.begun(step) as process:
            await has(met)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(300.0):
                ended = await attempt.ended(process)
        assert ended == Ended(code=GONE, told=None, error="")


async def test_a_hash_of_a_huge_file_does_not_keep_it(attempt: Apart) -> None:
    """A thread that reads a terabyte cannot be stopped; the process goes all the same."""
    assert (await attempt.prepare()).code == 0
    await attempt.module("truncate -s 1T out/data/huge")
    async with attempt.begun("commit") as process:
        huge = attempt.directory / "out/data/huge"
        async with asyncio.timeout(300.0):
            while huge not in _opened(process.pid):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(300.0):
            assert await attempt.ended(process) == Ended(code=GONE, told=None, error="")


def _opened(pid: int) -> set[Path]:
    """The files that a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.add(entry.readlink())
    return found


async def test_it_loads_nothing_of_a_dispatcher(attempt: Apart) -> None:
    """Each job waits for its start, twice."""
    assert (await attempt.prepare()).code == 0
    program = (
        "import sys\nfrom ion.cli.main import main\n"
        "try:\n    main(['handler', 'prepare'])\n"
        f"finally:\n    print(*sorted({set(NOT_FOR_A_HANDLER)} & set(sys.modules)), 'end', file=sys.stderr)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=attempt.environment, stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    assert (process.returncode, error) == (0, b"end\n")
