"""What a module finds when it starts."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from ion.adapters.blobs.filesystem import LINK_FROM
from ion.errors import ContractError, ExistsError, InvalidError, NotFoundError, UnavailableError
from ion.messaging import codec, trace
from ion.model.event import FileRef

if TYPE_CHECKING:
    from tests.handler.conftest import Attempt


async def test_the_directory_is_as_the_contract_says(attempt: "Attempt") -> None:
    """The event's files lie in `in/data` with their sub-folders, its key/values and itself beside them."""
    await attempt.brings("a.png", b"one")
    await attempt.brings("deep/er/b c,ü.png", b"two")
    folder = await attempt.prepare()
    assert (folder / "in/data/a.png").read_bytes() == b"one"
    assert (folder / "in/data/deep/er/b c,ü.png").read_bytes() == b"two"
    assert msgspec.json.decode((folder / "in/eventmeta.json").read_bytes()) == [
        {"key": "url", "value": "http://x/ü"},
        {"key": "count", "value": "3"},
    ]
    assert codec.decode((folder / "in/event.json").read_bytes()) == attempt.event
    assert sorted(entry.name for entry in (folder / "out").iterdir()) == ["data", "events"]
    assert sorted(entry.name for entry in folder.iterdir()) == ["in", "out"]


async def test_the_environment_is_as_the_contract_says(attempt: "Attempt") -> None:
    """The variables name the directory as the module sees it, the event, the module, the attempt and the trace."""
    await attempt.prepare(sees="/ion")
    variables = dict(attempt.workspace.environment)
    assert len(variables.pop("SHARED_SECRET")) >= 32
    assert variables == {
        "ION_DIR": "/ion",
        "HANDLER_BASE_DIR": "/ion",
        "ION_EVENT_ID": attempt.event.id,
        "ION_CORRELATION_ID": "flow-1",
        "ION_PARENT_EVENT_ID": "frontapi",
        "ION_MODULE": "detect",
        "ION_ATTEMPT": "2",
        "TRACEPARENT": trace.child(attempt.event.traceparent, attempt.job_id),
        "HANDLER_PORT": "0",
    }


async def test_the_directory_is_its_own_name_where_the_module_sees_the_same(attempt: "Attempt") -> None:
    """Without `sees` the variables name the real directory."""
    await attempt.prepare()
    assert attempt.workspace.environment["ION_DIR"] == str(attempt.directory)


async def test_any_user_may_read_in_and_write_out(attempt: "Attempt") -> None:
    """The modes do not depend on the umask: a container runs as whoever its image says."""
    await attempt.brings("deep/a.png", b"one")
    umask = os.umask(0o077)
    try:
        folder = await attempt.prepare()
    finally:
        os.umask(umask)
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (".", "in/data/deep", "in/data/deep/a.png")}
    assert modes == {".": 0o755, "in/data/deep": 0o755, "in/data/deep/a.png": 0o644}
    assert all(stat.S_IMODE((folder / name).stat().st_mode) == 0o777 for name in ("out", "out/data", "out/events"))
    assert stat.S_IMODE((folder / "in/event.json").stat().st_mode) == 0o644


async def test_every_preparation_is_another_execution(attempt: "Attempt") -> None:
    """Preparing an attempt twice gives two executions and refuses to share a directory."""
    await attempt.prepare()
    first = attempt.workspace.execution
    with pytest.raises(ExistsError, match="exists already"):
        await attempt.prepare()
    attempt.directory = attempt.folder / "again"
    await attempt.prepare()
    assert attempt.workspace.execution != first


async def test_large_inputs_are_told_as_links(attempt: "Attempt") -> None:
    """The workspace names exactly the files that are links to stored blobs."""
    await attempt.brings("small", b"x")
    large = await attempt.brings("large", b"x" * LINK_FROM)
    await attempt.prepare()
    shared = attempt.directory / "in/data/large"
    same = shared.stat().st_ino == attempt.blob_file(large.blob).stat().st_ino
    assert attempt.workspace.linked == ((shared,) if same else ())
    assert attempt.blobs.guarantees.links or not same


async def test_many_files_are_brought(attempt: "Attempt") -> None:
    """More files than are brought at once all arrive."""
    for number in range(100):
        await attempt.brings(f"{number % 10}/{number}", b"%d" % number)
    folder = await attempt.prepare()
    assert all((folder / f"in/data/{number % 10}/{number}").read_bytes() == b"%d" % number for number in range(100))


async def test_spilled_data_is_whole_again(attempt: "Attempt") -> None:
    """Data that lies in a blob stands in both documents as if it had come with the event."""
    data = {"long": "x" * 100_000}
    await attempt.blobs.put_bytes("root/1/x/data.json", msgspec.json.encode(data))
    attempt.event = msgspec.structs.replace(attempt.event, data={}, dataref="root/1/x/data.json")
    folder = await attempt.prepare()
    assert codec.decode((folder / "in/event.json").read_bytes()).data == data
    assert msgspec.json.decode((folder / "in/eventmeta.json").read_bytes()) == [{"key": "long", "value": "x" * 100_000}]


async def test_spilled_data_that_is_no_json_is_refused(attempt: "Attempt") -> None:
    """A data document that cannot be read fails the job for good, with one sentence."""
    await attempt.blobs.put_bytes("root/1/x/data.json", b"{")
    attempt.event = msgspec.structs.replace(attempt.event, dataref="root/1/x/data.json")
    with pytest.raises(InvalidError, match=r"root/1/x/data\.json is not JSON"):
        await attempt.prepare()


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (["../a"], "'../a', but a part of it is"),
        (["/etc/passwd"], "it is absolute"),
        (["a//b"], "a part of it is"),
        ([""], "a part of it is"),
        (["a\\b"], "a backslash"),
        (["a\nb"], "a control character"),
        (["a", "b", "a"], "'a' twice"),
        (["a", "a/b"], "'a' both as a file and as a folder"),
        (["a/b/c", "a"], "'a' both as a file and as a folder"),
        (["n" * 256], "longer than 255"),
    ],
)
async def test_an_event_that_fits_no_folder_is_refused(attempt: "Attempt", paths: list[str], fault: str) -> None:
    """Paths that leave `in/data` or clash fail the job for good, before anything is made."""
    files = tuple(FileRef(path=path, blob="root/1/x/data/0", size=0) for path in paths)
    attempt.event = msgspec.structs.replace(attempt.event, files=files)
    with pytest.raises(ContractError) as caught:
        await attempt.prepare()
    assert fault in str(caught.value)
    assert not attempt.directory.exists()


async def test_a_missing_input_is_not_found(attempt: "Attempt") -> None:
    """An input whose blob is gone raises NotFoundError, also where other files are brought at the same time."""
    for number in range(10):
        await attempt.brings(str(number), b"x")
    gone = FileRef(path="gone", blob="root/1/x/none", size=1)
    attempt.event = msgspec.structs.replace(attempt.event, files=(gone, *attempt.event.files))
    with pytest.raises(NotFoundError, match="root/1/x/none"):
        await attempt.prepare()


async def test_a_missing_work_folder_is_unavailable(attempt: "Attempt") -> None:
    """Where the host has no room or no folder for the directory, the job can be tried again."""
    attempt.directory = Path(attempt.folder / "none/ion")
    with pytest.raises(UnavailableError, match="none/ion"):
        await attempt.prepare()
