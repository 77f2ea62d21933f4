"""Modules that leave too much, under the real `ion run`: all of it is kept, and the dispatcher stays small."""

import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.outcomes import (
    MIB,
    assert_nothing_is_left,
    log_of,
    manifest_of,
    stored,
    the_job,
)

from ion.dispatcher.relay import CHUNK
from ion.dispatcher.stores import Stores
from ion.model.job import Hold, State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

PEAK_MOST = 160 * MIB
"""What a dispatcher may have in memory at most, whatever its modules do; it begins with a third of that."""
MEASURE = """
  measure: {command: [sh, -c, 'grep VmHWM /proc/$PPID/status > "$ION_DIR/out/data/peak"'], on: measure}
"""


def peak_of_the_dispatcher(pipeline: "Pipeline") -> int:
    """Bytes, as a module that came last saw them."""
    text = stored(pipeline, the_job(pipeline.jobs("measure"), "measure"))["peak"]
    (kibibytes,) = re.findall(rb"(\d+) kB", text)
    return int(kibibytes) * 1024


def test_a_gigabyte_of_log_is_cut_and_costs_no_memory(pipeline: "Pipeline") -> None:
    """Of the log its head and its end are kept, and how much is missing; the dispatcher stays small."""
    pipeline.write(f"""
ion: 1
modules:
  loud: {{command: [python3, loud.py], on: go, emits: measure}}
{MEASURE}
""")
    (pipeline.folder / "loud.py").write_text(
        textwrap.dedent("""
        import os
        os.write(1, b"the first line\\n")
        block = (b"x" * 999 + b"\\n") * 64
        for _ in range(10**9 // len(block) + 1):
            os.write(1, block)
        os.write(2, b"the last line\\n")
        open(os.environ["ION_DIR"] + "/out/events/a.json", "w").write('{"type": "measure"}')
        """)
    )
    pipeline.ion("run", "--event", "go")
    log = log_of(pipeline, the_job(pipeline.jobs(), "loud"))
    assert 15 * MIB < len(log) <= 16 * MIB
    lines = log.splitlines()
    assert (lines[0].split(b" ", 1)[1], lines[-1].split(b" ", 1)[1]) == (b"the first line", b"the last line")
    (missing,) = re.findall(rb"\[ion\] (\d+) bytes of the log were left out here", log)
    assert int(missing) > 950 * 10**6
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)


def test_ten_thousand_events_are_all_admitted_in_chunks(pipeline: "Pipeline") -> None:
    """Each has its record and its job, and the row of the job that raised them stays small."""
    many = 10_000
    pipeline.write("""
ion: 1
guards: {max_hops: 1}
modules:
  many: {command: [python3, many.py], on: go, emits: part}
  held: {command: 'true', on: part}
""")
    (pipeline.folder / "many.py").write_text(
        textwrap.dedent(f"""
        import os
        for number in range({many}):
            with open(os.environ["ION_DIR"] + f"/out/events/{{number}}.json", "w") as event:
                event.write('{{"type": "part", "subject": "%d"}}' % number)
        """)
    )
    said = pipeline.ion("run", "--event", "go", code=1)
    assert f"{many:,} jobs held by a pause or a guard" in said or f"{many} jobs held by a pause or a guard" in said
    jobs = pipeline.jobs()
    held = [job for job in jobs if job.module == "held"]
    assert Counter(job.hold for job in held) == {Hold.HOPS: many}
    assert {job.event.subject for job in held} == {str(number) for number in range(many)}
    raised = the_job(jobs, "many")
    assert (raised.state, raised.cursor) == (State.RELEASED, many - CHUNK)

    async def recorded(stores: Stores) -> int:
        found = stores.documents.query(RecordFilter(kind=Kind.EVENT_META))
        return len([record async for record in found if record.body["type"] == "part"])

    assert pipeline.do(recorded) == many
    assert_nothing_is_left(pipeline)


def test_very_many_files_are_all_kept(pipeline: "Pipeline") -> None:
    """Every one is stored as it was, and the dispatcher is not much larger for it."""
    many = 100_000
    pipeline.write(f"""
ion: 1
modules:
  many: {{command: [python3, many.py], on: go, emits: measure}}
{MEASURE}
""")
    (pipeline.folder / "many.py").write_text(
        textwrap.dedent(f"""
        import os
        os.chdir(os.environ["ION_DIR"] + "/out")
        for number in range({many}):
            os.makedirs(f"data/{{number % 100}}", exist_ok=True)
            with open(f"data/{{number % 100}}/{{number}}", "w") as file:
                file.write(str(number))
        open("events/a.json", "w").write('{{"type": "measure"}}')
        """)
    )
    pipeline.ion("run", "--event", "go")
    manifest = manifest_of(pipeline, the_job(pipeline.jobs(), "many"))
    names = {f"{number % 100}/{number}" for number in range(many)}
    assert {file.path for file in manifest.files} == names

    async def some(stores: Stores) -> None:
        for file in manifest.files[::1000]:
            assert await stores.blobs.get_bytes(file.blob) == file.path.partition("/")[2].encode()

    pipeline.do(some)
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)


ZEROS_GIB = 5
ZEROS_SHA256 = "7f06c62352aebd8125b2a1841e2b9e1ffcbed602f381c3dcb3200200e383d1d5"


def test_a_huge_sparse_file_stays_sparse(pipeline: "Pipeline") -> None:
    """It is stored whole, takes no room on the disk, and is never in memory as a whole."""
    pipeline.write(f"""
ion: 1
modules:
  huge:
    command: [sh, huge.sh]
    on: go
    emits: measure
{MEASURE}
""")
    (pipeline.folder / "huge.sh").write_text(
        f'truncate -s {ZEROS_GIB}G "$ION_DIR/out/data/a"\n'
        """echo '{"type": "measure"}' > "$ION_DIR/out/events/a.json"\n"""
    )
    pipeline.ion("run", "--event", "go")
    (file,) = manifest_of(pipeline, the_job(pipeline.jobs(), "huge")).files
    assert (file.size, file.sha256) == (ZEROS_GIB * 1024 * MIB, ZEROS_SHA256)
    (blob,) = pipeline.store.glob("blobs/*/*/*/*/data/a")
    info = blob.stat()
    assert (info.st_size, info.st_blocks * 512 < MIB) == (file.size, True)
    assert peak_of_the_dispatcher(pipeline) < PEAK_MOST
    assert_nothing_is_left(pipeline)
