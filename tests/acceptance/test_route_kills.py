"""R1, R2, R3 over routes: two hosts serve a provider each, both are killed at random, again and again."""

import re
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.fan import recorded
from tests.acceptance.test_large_kills import seeded

from ion.management.audit import Severity
from ion.model.job import Job, State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

WIDTH, KILLS, WAIT_S = 120, 14, 1.0
NEAR, FAR = "local", "kubernetes"
PIPELINE = f"""
ion: 1
name: places
defaults:
  image: none
  runtime: process
  concurrency: 8
  retries: {{module: 3, lost: 100, backoff: 10ms, backoff_most: 50ms}}
machine: {{cpu: 4}}
modules:
  split: {{command: [sh, split.sh], on: go, emits: [part]}}
  sized:
    command: [sh, -c, 'sleep 0.2; cp "$ION_DIR"/in/data/* "$ION_DIR/out/data/"']
    on: part
    route: {{when: {{size: '>=1000'}}, provider: {FAR}}}
  kept:
    command: [sh, -c, 'sleep 0.2; cp "$ION_DIR"/in/data/* "$ION_DIR/out/data/"']
    on: part
    route:
      - when: {{filters: {{any: [{{exact: {{data.n.last: '3'}}}}, {{exact: {{data.n.last: '7'}}}}]}}}}
        provider: {FAR}
      - {{when: {{filters: {{not: {{exact: {{data.n.last: '5'}}}}}}}}, priority: 2}}
  queued:
    command: [sh, -c, 'sleep 0.2; cp "$ION_DIR"/in/data/* "$ION_DIR/out/data/"']
    on: part
    route: {{when: {{waited: {WAIT_S:g}s}}, provider: {FAR}}}
"""
SPLIT = f"""
i=0
while [ $i -lt {WIDTH} ]; do
  if [ $((i % 4)) = 0 ]; then size=2000; else size=10; fi
  head -c $size /dev/zero > "$ION_DIR/out/data/$i.bin"
  printf '{{"type": "part", "files": ["%s.bin"], "subject": "%s", "data": {{"n": {{"last": %s}}}}}}' \\
    $i $i $((i % 10)) > "$ION_DIR/out/events/$i.json"
  i=$((i+1))
done
"""


class Hosts:
    """The dispatcher of each provider, on a host of that name: of a dead one the other knows no more than its beat."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self._serving = {name: self._start(name) for name in (NEAR, FAR)}

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        return self._pipeline.start_program("one_provider.py", str(self._pipeline.store), name)

    @property
    def dispatchers(self) -> dict[str, str]:
        """Every dispatcher that there ever was, with its provider."""
        return {key: provider for provider, key in re.findall(r"^is (\w+) (\S+)$", self._said(), re.MULTILINE)}

    @property
    def opened(self) -> int:
        """How many have opened."""
        return len(re.findall(r"^open \w+$", self._said(), re.MULTILINE))

    def _said(self) -> str:
        return (self._pipeline.folder / "output").read_text()

    def kill(self, name: str) -> None:
        self._serving[name].send_signal(signal.SIGKILL)
        self._serving[name].wait()

    def start(self, name: str, *, opened: bool) -> None:
        """Starts it, and waits until it has opened, or not."""
        before = self.opened
        self._serving[name] = self._start(name)
        if opened:
            self._pipeline.until(lambda: self.opened > before)

    def stop(self) -> None:
        for process in self._serving.values():
            process.send_signal(signal.SIGTERM)
        for process in self._serving.values():
            assert process.wait(PATIENCE_S) == 0, (self._pipeline.folder / "output").read_text()[-3000:]


def test_two_hosts_with_a_provider_each_outlive_any_kill(pipeline: "Pipeline") -> None:
    """Every job is done once, and tried nowhere but where the rules sent it, whoever died meanwhile."""
    pipeline.write(PIPELINE)
    (pipeline.folder / "split.sh").write_text(SPLIT)
    chance = seeded()
    hosts = Hosts(pipeline)
    pipeline.until(lambda: hosts.opened == 2)
    pipeline.ion("event", "create", "--event-type", "go")
    for _ in range(KILLS):
        victim = chance.choice((NEAR, FAR))
        hosts.kill(victim)
        time.sleep(chance.choice((0.0, 0.0, 1.5)))  # at times for longer than its lease
        hosts.start(victim, opened=chance.random() < 0.8)
        time.sleep(chance.uniform(0.0, 0.5))  # a random point is the point
    pipeline.until(lambda: all(flow["open"] == 0 for flow in pipeline.json("flow", "list", "--json")))
    hosts.stop()
    jobs = pipeline.jobs()
    assert Counter((job.module, job.state) for job in jobs if job.module != "cli") == {
        ("split", State.RELEASED): 1,
        **{(name, State.RELEASED): WIDTH for name in ("sized", "kept", "queued")},
    }
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []
    assert pipeline.do(recorded) == {"go": 1, "part": WIDTH}
    assert pipeline.processes() == []
    tried = {job.id: tried_at(job, hosts.dispatchers) for job in jobs}
    for job in jobs:
        if job.module in ("sized", "kept"):
            assert tried[job.id] == {expected(job)}, job.history
        elif job.module == "queued":
            assert tried[job.id] == {FAR if sent_away(job) else NEAR}, job.history
    away = Counter(job.module for job in jobs if tried[job.id] == {FAR})
    assert (away["sized"], away["kept"]) == (WIDTH / 4, WIDTH / 5)
    assert away["queued"]
    assert sum(job.attempt > 1 for job in jobs) > 0


def tried_at(job: Job, dispatchers: dict[str, str]) -> set[str]:
    """The providers that any attempt was made on."""
    claims = [change for change in job.history if change.state is State.RUNNING and not change.note]
    return {dispatchers[claim.actor] for claim in claims if job.module != "cli"}


def expected(job: Job) -> str:
    """Where a part belongs, by its number."""
    number = int(job.event.subject)
    return FAR if (number % 4 == 0 if job.module == "sized" else number % 10 in (3, 7)) else NEAR


def sent_away(job: Job) -> bool:
    """Whether it has gone to the other provider; then it had waited for so long, and not been begun."""
    (moves, claims) = (
        [change for change in job.history if change.note.startswith(f"for {FAR}: rule 1 (waited")],
        [change for change in job.history if change.state is State.RUNNING],
    )
    if not moves:
        return False
    assert job.admitted_at is not None
    assert (moves[0].at - job.admitted_at).total_seconds() >= WAIT_S
    assert moves[0].at <= claims[0].at
    return True
