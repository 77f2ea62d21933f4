"""What every ledger must do. An adapter's tests subclass `LedgerConformance` and open two ledgers on one store:

    class TestMyLedger(LedgerConformance):
        @asynccontextmanager
        async def open_ledgers(self, clock, max_jobs):
            async with MyLedger(...) as one, MyLedger(...) as two:
                yield one, two

Each test states one sentence of `ion.ports.ledger` and breaks where an adapter breaks it. Wherever two processes could
meet, the two ledgers stand for them.
"""

from ion.testing.conformance.ledger_admission import AdmissionConformance
from ion.testing.conformance.ledger_claims import ClaimConformance
from ion.testing.conformance.ledger_clock import ClockConformance
from ion.testing.conformance.ledger_flows import FlowConformance
from ion.testing.conformance.ledger_history import HistoryConformance
from ion.testing.conformance.ledger_keeping import KeepingConformance
from ion.testing.conformance.ledger_routes import RouteConformance
from ion.testing.conformance.ledger_settling import SettlingConformance


class LedgerConformance(
    AdmissionConformance,
    ClaimConformance,
    ClockConformance,
    RouteConformance,
    SettlingConformance,
    FlowConformance,
    KeepingConformance,
    HistoryConformance,
):
    """The whole suite; needs `pytest-asyncio` in auto mode."""
