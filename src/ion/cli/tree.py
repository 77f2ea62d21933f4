"""The live tree: the pipeline's shape with what each module is doing, redrawn in place."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from ion.cli.live import MARKS, Timings, describe
from ion.cli.output import plain
from ion.dispatcher.finish import Progress, Step
from ion.management.run import Result
from ion.model.job import State
from ion.model.module import Module

STYLES = {
    State.RELEASED: ("✓", "green"),
    State.COMMITTED: ("✓", "cyan"),
    State.RUNNING: ("▶", "yellow"),
    State.WAITING: ("…", "dim"),
    State.DEAD: ("✗", "bold red"),
    State.CANCELLED: ("⊘", "red"),
}
SUBJECTS_SHOWN = 2


class LiveTree:
    """Shows a module once, below the first module that starts it."""

    def __init__(self, modules: Mapping[str, Module], roots: Sequence[str]) -> None:
        self._modules, self._roots = modules, roots
        self._timings = Timings()
        self._tally: Mapping[tuple[str, State], int] = {}
        self._console = Console(highlight=False)
        self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=8)
        self._live.start()

    def step(self, progress: Progress, log_tail: Sequence[str]) -> None:
        seconds = self._timings.note(progress)
        if progress.step in (Step.DEAD, Step.FAILED):
            line = Text(f"{MARKS[progress.step]} {progress.job.module}  ", style="bold red")
            line.append(f"{describe(progress, self._modules)} ({seconds:.1f}s)", style="default")
            self._console.print(line)
        for text in log_tail:
            self._console.print(Text(f"    {text}", style="dim"))

    def tally(self, tally: Mapping[tuple[str, State], int]) -> None:
        self._tally = tally

    def close(self, results: Sequence[Result]) -> None:
        if results:
            total: Counter[tuple[str, State]] = Counter()
            for result in results:
                total.update(result.tally)
            self._tally = total
        self._timings.running.clear()
        self._live.stop()

    def _draw(self) -> Tree:
        root = Tree(Text(", ".join(self._roots) or "flow", style="bold"))
        shown: set[str] = set()
        self._grow(root, set(self._roots), shown)
        for name in self._modules:
            if name not in shown and any(module == name for module, _ in self._tally):
                self._grow_module(root, name, shown)
        return root

    def _grow(self, branch: Tree, types: set[str], shown: set[str]) -> None:
        for name, module in self._modules.items():
            if name not in shown and types & {s.type for s in module.on}:
                self._grow_module(branch, name, shown)

    def _grow_module(self, branch: Tree, name: str, shown: set[str]) -> None:
        shown.add(name)
        below = branch.add(self._label(name))
        self._grow(below, set(self._modules[name].emits), shown)

    def _label(self, name: str) -> Text:
        label = Text(f"{name:<14}", style="bold")
        for state, (mark, style) in STYLES.items():
            if count := self._tally.get((name, state), 0):
                label.append(f"  {mark} {count}", style=style)
        subjects = [plain(job.event.subject) for job, _ in self._timings.running.values() if job.module == name]
        if subjects:
            more = f" +{len(subjects) - SUBJECTS_SHOWN}" if len(subjects) > SUBJECTS_SHOWN else ""
            label.append("  " + ", ".join(subjects[:SUBJECTS_SHOWN]) + more, style="dim")
        return label
