"""What `ion run` shows while it works: a live tree on a terminal, plain lines elsewhere, JSON lines for scripts."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from ion.cli.output import plain
from ion.dispatcher.finish import Progress, Step
from ion.management.run import Result
from ion.model.job import Job, State
from ion.model.module import Module

MARKS = {Step.COMMITTED: "✓", Step.FAILED: "↻", Step.DEAD: "✗", Step.CANCELLED: "⊘", Step.GIVEN_BACK: "↩"}


class Reporter(Protocol):
    """Told of each step, and now and then of the whole flow's tally."""

    def step(self, progress: Progress, log_tail: Sequence[str]) -> None:
        """`log_tail` is not empty at a module's first failure."""

    def tally(self, tally: Mapping[tuple[str, State], int]) -> None: ...

    def close(self, results: Sequence[Result]) -> None:
        """The end, with how each flow ended; none where that is not known."""


class Timings:
    """How long each attempt took, from the moment it was seen to start (monotonic seconds)."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[Job, float]] = {}

    def note(self, progress: Progress) -> float:
        job = progress.job
        if progress.step is Step.STARTED:
            self.running[job.id] = (job, time.monotonic())
            return 0.0
        _, since = self.running.pop(job.id, (job, time.monotonic()))
        return time.monotonic() - since


def describe(progress: Progress, modules: Mapping[str, Module]) -> str:
    """One step in a few words: what it was about, and how it ended."""
    job = progress.job
    text = job.event.subject or job.event.type
    if progress.failure is not None:
        text += f": {progress.failure.message}"
        if progress.step is Step.FAILED:
            text += "; will be tried again"
    module = modules.get(job.module)
    if progress.manifest is not None and module is not None and module.emits and not progress.manifest.events:
        text += "  (raised nothing)"
    return plain(text)


class PlainLines:
    """One line a step, for pipes and log files."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules, self._timings = modules, Timings()

    def step(self, progress: Progress, log_tail: Sequence[str]) -> None:
        seconds = self._timings.note(progress)
        if progress.step is Step.STARTED:
            return
        words = describe(progress, self._modules)
        print(f"{MARKS[progress.step]} {progress.job.module:<14} {seconds:6.2f}s  {words}", flush=True)
        for line in log_tail:
            print(f"    {line}", flush=True)

    def tally(self, tally: Mapping[tuple[str, State], int]) -> None:
        """Each step has its line already."""

    def close(self, results: Sequence[Result]) -> None:
        """The summary is printed by the command."""


class JsonLines:
    """One JSON document a line: a step each, and the results last."""

    def __init__(self) -> None:
        self._timings = Timings()

    def step(self, progress: Progress, log_tail: Sequence[str]) -> None:
        seconds, job = self._timings.note(progress), progress.job
        line: dict[str, object] = {
            "step": progress.step.value,
            "job": job.id,
            "module": job.module,
            "attempt": job.attempt,
            "event": job.event.id,
            "subject": job.event.subject,
            "seconds": round(seconds, 4),
        }
        if progress.failure is not None:
            line["failure"] = {"class": progress.failure.kind.value, "message": progress.failure.message}
        if log_tail:
            line["log_tail"] = list(log_tail)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def tally(self, tally: Mapping[tuple[str, State], int]) -> None:
        """The result carries the last one."""

    def close(self, results: Sequence[Result]) -> None:
        for result in results:
            self._print_result(result)

    def _print_result(self, result: Result) -> None:
        jobs: dict[str, dict[str, int]] = {}
        for (module, state), count in sorted(result.tally.items()):
            jobs.setdefault(module, {})[state.value] = count
        failed = [
            {"job": j.id, "module": j.module, "message": j.failure.message if j.failure else j.state.value}
            for j in result.failed
        ]
        line = {
            "flow": result.correlation_id, "ok": result.ok, "jobs": jobs, "failed": failed, "stuck": result.stuck
        }  # fmt: skip
        print(json.dumps(line, ensure_ascii=False), flush=True)


def reporter(modules: Sequence[Module], roots: Sequence[str], *, as_json: bool, plain: bool = False) -> Reporter:
    """The reporter that fits standard output."""
    if as_json:
        return JsonLines()
    by_name = {module.name: module for module in modules}
    if plain or not sys.stdout.isatty():
        return PlainLines(by_name)
    from ion.cli.tree import LiveTree

    return LiveTree(by_name, roots)
