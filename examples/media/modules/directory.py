"""The directory that a module sees: everything these modules know of Ion, in one page.

`in/data/` holds the event's files and `in/eventmeta.json` its key/values. What a module wants to keep goes into
`out/data/`, what it found into `out/insights.json`, and each event it raises into a file of `out/events/`. Leaving with
exit code 0 keeps all of it, with any other none. A module in another language does the same with its own JSON library.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

FINAL = 2
"""Leaving with this exit code says that trying again would not help (`no_retry_on` in ion.yaml)."""

HERE = Path(os.environ.get("ION_DIR") or os.environ.get("HANDLER_BASE_DIR") or "/ion")
DATA_IN = HERE / "in" / "data"
DATA_OUT = HERE / "out" / "data"


def meta() -> dict[str, str]:
    """The key/values of the event that started this module."""
    pairs = json.loads((HERE / "in" / "eventmeta.json").read_text(encoding="utf-8"))
    return {pair["key"]: pair["value"] for pair in pairs}


def inputs() -> list[Path]:
    """The files that came with the event, sub-folders included."""
    return sorted(path for path in DATA_IN.rglob("*") if path.is_file())


def only_input() -> Path:
    """The one file of an event that carries exactly one."""
    files = inputs()
    if len(files) != 1:
        fail(f"expected one file in in/data and found {len(files)}: send one event a file", FINAL)
    return files[0]


def output(name: str) -> Path:
    """Where to write the file `name` that is to be kept."""
    DATA_OUT.mkdir(parents=True, exist_ok=True)
    return DATA_OUT / name


def raise_event(kind: str, *, name: str = "", **fields: Any) -> None:
    """Raises an event: `files` below out/data, `inputs` forwarded from in/data, `subject`, and `data` key/values."""
    folder = HERE / "out" / "events"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name or kind}.json").write_text(json.dumps({"type": kind, **fields}), encoding="utf-8")


def insights(**found: Any) -> None:
    """Keeps what was found, for analysis; it is not passed on to other modules."""
    (HERE / "out").mkdir(exist_ok=True)
    (HERE / "out" / "insights.json").write_text(json.dumps(found), encoding="utf-8")


def number(variable: str, default: float) -> float:
    """A setting from the environment that is a number above 0."""
    text = os.environ.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        fail(f"{variable} is {text!r}: set it to a number above 0", FINAL)
    return value


def fail(message: str, code: int = 1) -> NoReturn:
    """Leaves with one sentence in the log; nothing that was written is kept."""
    print(message, file=sys.stderr)
    raise SystemExit(code)
