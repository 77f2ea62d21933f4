"""The ledger's suite: what modules were, and the audit trail."""

from datetime import timedelta

from ion.ports.ledger import Entry, Ledger, Past
from ion.testing.conformance.ledger_stage import EPOCH, LedgerStage, Stage, revision

MANY = 250


class HistoryConformance(LedgerStage):
    async def test_history_tells_each_revision_when_and_by_whom(self, stage: Stage) -> None:
        """The newest comes first, one applied again stands there again, and what changed nothing does not."""
        old, new = revision(timeout_s=1), revision(timeout_s=2)
        await stage.ledger.apply([old, revision("count")], "me")
        stage.clock.advance(5)
        await stage.other.apply([new], "you")
        await stage.other.apply([new], "nobody")
        stage.clock.advance(5)
        await stage.ledger.apply([old], "me")
        at = EPOCH + timedelta(seconds=5)
        assert await _past(stage.other, "detect") == [
            Past(revision=old, at=at + timedelta(seconds=5), actor="me"),
            Past(revision=new, at=at, actor="you"),
            Past(revision=old, at=EPOCH, actor="me"),
        ]

    async def test_history_tells_of_removals(self, stage: Stage) -> None:
        """A removed module's history stays, with its removal; when it returns that goes on."""
        applied = revision()
        await stage.ledger.apply([applied], "me")
        await stage.ledger.pause_module("detect", paused=True, actor="me")
        await stage.ledger.remove("detect", "you")
        past = [Past(at=EPOCH, actor="you", removed=True), Past(revision=applied, at=EPOCH, actor="me")]
        assert await _past(stage.other, "detect") == past
        stage.clock.advance(1)
        await stage.other.apply([applied], "them")
        at = EPOCH + timedelta(seconds=1)
        assert await _past(stage.ledger, "detect") == [Past(revision=applied, at=at, actor="them"), *past]

    async def test_a_module_never_applied_has_no_history(self, stage: Stage) -> None:
        """Neither has one whose name is the beginning of another's."""
        await stage.ledger.apply([revision("detect-2")], "me")
        assert await _past(stage.other, "detect") == []
        assert len(await _past(stage.other, "detect-2")) == 1

    async def test_a_long_history_is_told_whole(self, stage: Stage) -> None:
        """However often a module was changed, each time is told once, in order."""
        all_of_them = [revision(timeout_s=float(number + 1)) for number in range(MANY)]
        for one in all_of_them:
            await stage.ledger.apply([one], "me")
        assert [past.revision for past in await _past(stage.other, "detect")] == all_of_them[::-1]

    async def test_what_is_noted_is_in_the_trail(self, stage: Stage) -> None:
        """With every field, at the ledger's time, as another process sees it."""
        asked = _entry("modules.apply", role="operator", about="dete\0ct", peer="10.0.0.1:99", outcome="no 'ü' there")
        await stage.ledger.note(asked)
        assert [one async for one in stage.other.trail(None, 10)] == [
            Entry(
                at=EPOCH,
                actor="me",
                verb="modules.apply",
                role="operator",
                about="dete\0ct",
                peer="10.0.0.1:99",
                outcome="no 'ü' there",
            )
        ]

    async def test_the_trail_ends_with_the_newest(self, stage: Stage) -> None:
        """Asked for fewer lines than there are, or for those since a time, it gives the last ones, oldest first."""
        assert await _verbs(stage.ledger, most=5) == []
        for number in range(6):
            await (stage.ledger, stage.other)[number % 2].note(_entry(str(number)))
            stage.clock.advance(1)
        assert await _verbs(stage.other, most=100) == ["0", "1", "2", "3", "4", "5"]
        assert await _verbs(stage.other, most=2) == ["4", "5"]
        assert await _verbs(stage.other, most=100, since_s=4) == ["4", "5"]
        assert await _verbs(stage.other, most=1, since_s=2) == ["5"]
        assert await _verbs(stage.other, most=100, since_s=60) == []

    async def test_a_long_trail_is_told_whole(self, stage: Stage) -> None:
        """However many lines are asked for, each is told once, in order."""
        for number in range(MANY):
            await stage.ledger.note(_entry(str(number)))
            stage.clock.advance(number % 2)
        assert await _verbs(stage.other, most=1000) == [str(number) for number in range(MANY)]
        assert await _verbs(stage.other, most=MANY - 10) == [str(number) for number in range(10, MANY)]

    async def test_lines_of_one_instant_keep_their_order(self, stage: Stage) -> None:
        """What one process noted first stands first."""
        for number in range(10):
            await stage.ledger.note(_entry(str(number)))
        assert await _verbs(stage.other, most=4) == ["6", "7", "8", "9"]

    async def test_a_long_text_is_clipped(self, stage: Stage) -> None:
        """Whatever is noted, a line stays small; a text that is no proper one is kept as far as it can be."""
        await stage.ledger.note(_entry("jobs.cancel", about="x" * 100_000, outcome="\ud800 is half a character"))
        (found,) = [one async for one in stage.other.trail(None, 1)]
        assert (len(found.about), found.about[-1]) == (1000, "…")
        assert found.outcome == "? is half a character"


def _entry(verb: str, **fields: str) -> Entry:
    """At no time: it is for the ledger to say when."""
    return Entry(at=EPOCH - timedelta(days=1), actor="me", verb=verb, **fields)


async def _past(ledger: Ledger, module: str) -> list[Past]:
    return [past async for past in ledger.revisions(module)]


async def _verbs(ledger: Ledger, *, most: int, since_s: float | None = None) -> list[str]:
    since = None if since_s is None else EPOCH + timedelta(seconds=since_s)
    return [entry.verb async for entry in ledger.trail(since, most)]
