"""The folder for growing logs of a process: its own while it lives, and nobody's work once it is dead."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ion.adapters.executors.logfolder import LogFolder
from ion.errors import UnavailableError

HOLDER = """
import sys, time
from pathlib import Path
from ion.adapters.executors.logfolder import LogFolder
folder = LogFolder(Path(sys.argv[1]))
folder.open()
(folder.path / "a.log").write_text("said")
print(folder.path, flush=True)
time.sleep(1000)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    """By the next that opens, which has a folder of its own and takes it along."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        own = LogFolder(tmp_path)
        own.open()
        own.open()  # once more does nothing
        assert sorted(tmp_path.iterdir()) == sorted([held, own.path])
        assert (held / "a.log").read_text() == "said"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    following = LogFolder(tmp_path)
    following.open()
    assert sorted(tmp_path.iterdir()) == sorted([following.path, own.path])
    own.close()
    following.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"no folder for logs can be made in .*in it: Not a directory"):
        LogFolder(tmp_path / "file" / "in it").open()
