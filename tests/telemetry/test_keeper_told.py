"""What the management releases, where it keeps dispatchers: a flow's first span is told by nobody else."""

import asyncio
from pathlib import Path

from ion.config.settings import Settings
from ion.management.events import RootEvent, raise_event
from ion.management.metrics.counts import Counts
from ion.management.telemetry.lives import Life
from ion.management.telemetry.spans import spans_of
from ion.management.telemetry.watching import Watching
from ion.model.job import State
from ion.wiring import open_store
from ion.wiring.control import open_keeper
from ion.wiring.telemetry import Watched


async def test_what_gateways_commit_is_told_by_who_releases_it(tmp_path: Path) -> None:
    """All dispatchers may be stopped; the dispatcher that runs nothing then begins the trace."""
    heard: list[Life] = []
    told = asyncio.Event()

    def hear(life: Life) -> None:
        heard.append(life)
        told.set()

    async with open_store(tmp_path / "store") as stores, Watching(hear) as lives:
        keeper = open_keeper(tmp_path / "store", stores, Settings(), Watched(Counts(), lives))
        async with keeper, asyncio.timeout(180):
            raised = await raise_event(RootEvent(type="photo"), gateway="frontapi", ledger=stores.ledger,
                                       blobs=stores.blobs)  # fmt: skip
            await told.wait()
        assert (await stores.ledger.get(raised.job)).state is State.RELEASED
    (life,) = heard
    assert [span.name for span in spans_of(life)] == ["send photo", "commit", "release"]
    assert life.job.id == raised.job
