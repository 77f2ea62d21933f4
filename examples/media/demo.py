"""The media pipeline on three real clips: runs it, says what it found in each, and writes the flow's report.

The clips come from a server on this machine, as they would from anywhere; the rest is `ion` as everybody has it. Each
run is a new flow in the same store (`.ion/` beside this file), so the second starts at once.
"""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clips import FOLDER, clips

HERE = Path(__file__).resolve().parent
STORE = HERE / ".ion"
BIN = Path(sys.executable).parent
COLUMNS = ("clip", "frames", "faces", "without", "colours", "scenes", "seconds")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The pipeline says what matters."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder on this machine alone; gives its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def ion(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs `ion`; its modules find the `python` that this program runs on."""
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    command = [str(BIN / "ion"), "--store", str(STORE), *arguments]
    return subprocess.run(command, env=environ, capture_output=capture, text=True, check=False)


def answer(*arguments: str) -> str:
    """What `ion` prints; where it fails, so does this program, in its words."""
    ended = ion(*arguments, capture=True)
    if ended.returncode != 0:
        print(ended.stderr, end="", file=sys.stderr)
        sys.exit(ended.returncode)
    return ended.stdout.strip()


def summaries(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was found in each clip, from the records of the flow.

    An insight belongs to the clip whose link stands at the beginning of its line of events.
    """
    events = {record["id"]: record for record in records if record["context"]["documentType"] == "eventMeta"}
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["context"]["documentType"] != "insight":
            continue
        event = events[record["context"]["eventId"]]
        while (parent := event["context"]["parentEventId"]) in events:
            event = events[parent]
        clip = found.setdefault(event["subject"].rpartition("/")[2], {"colours": Counter(), "scenes": Counter()})
        add(clip, {pair["key"]: pair.get("typed", pair["value"]) for pair in record["data"]})
    return found


def add(clip: dict[str, Any], insights: dict[str, Any]) -> None:
    clip["frames"] = clip.get("frames", 0) + insights.get("frames", 0)
    clip["faces"] = clip.get("faces", 0) + insights.get("faces", 0)
    clip["without"] = clip.get("without", 0) + (insights.get("faces") == 0)
    clip["seconds"] = clip.get("seconds", 0.0) + insights.get("seconds", 0.0)
    if "colour" in insights:
        clip["colours"][insights["colour"]] += 1
        clip["scenes"][insights["label"]] += 1


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """A line a clip: frames taken, faces found, frames without one, and what those are like."""
    rows = [COLUMNS]
    for name, clip in sorted(found.items()):
        colours, scenes = (", ".join(word for word, _ in clip[key].most_common(3)) for key in ("colours", "scenes"))
        counts = (str(clip["frames"]), str(clip["faces"]), str(clip["without"]))
        rows.append((name, *counts, colours or "-", scenes or "-", f"{clip['seconds']:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    names = [path.name for path in clips()]
    with served(FOLDER) as address:
        links = [f"--each-set=url={address}/{name}" for name in names]
        code = ion("run", str(HERE / "ion.yaml"), "--event", "frontapi.new_link", *links).returncode
    if code not in (0, 1):  # 1: some job failed, and what came of the others is still worth seeing
        sys.exit(code)
    flow = json.loads(answer("flow", "list", "--limit", "1", "--json"))[0]["correlation_id"]
    print()
    print_table(summaries(json.loads(answer("trace", "flow", "-c", flow))))
    print()
    print(answer("flow", "report", "-c", flow), flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
