"""All groups in one hand."""

from pathlib import Path

from ion.dispatcher.stores import Stores
from ion.management.control.control import Control
from ion.management.local.bus import LocalBus
from ion.management.local.events import LocalEvents
from ion.management.local.findings import LocalFindings
from ion.management.local.flows import LocalFlows
from ion.management.local.jobs import LocalJobs
from ion.management.local.letters import LocalLetters
from ion.management.local.modules import LocalModules
from ion.management.local.server import LocalServer
from ion.management.local.site import Site
from ion.management.verbs import (
    BusVerbs,
    EventVerbs,
    FindingVerbs,
    FlowVerbs,
    JobVerbs,
    LetterVerbs,
    Management,
    ModuleVerbs,
    ServerVerbs,
)
from ion.model.retention import Retention


class LocalManagement(Management):
    """The verbs on an open store, which whoever made this closes; `actor` is whom changes are by."""

    def __init__(
        self,
        stores: Stores,
        *,
        actor: str,
        work: Path | None,
        retention: Retention,
        place: str,
        control: Control | None = None,
    ) -> None:
        site = Site(stores=stores, actor=actor, work=work, retention=retention, place=place, control=control)
        self._jobs, self._letters, self._flows = LocalJobs(site), LocalLetters(site), LocalFlows(site)
        self._events, self._bus = LocalEvents(site), LocalBus(site)
        self._modules, self._findings, self._server = LocalModules(site), LocalFindings(site), LocalServer(site)

    @property
    def jobs(self) -> JobVerbs:
        return self._jobs

    @property
    def letters(self) -> LetterVerbs:
        return self._letters

    @property
    def flows(self) -> FlowVerbs:
        return self._flows

    @property
    def modules(self) -> ModuleVerbs:
        return self._modules

    @property
    def events(self) -> EventVerbs:
        return self._events

    @property
    def bus(self) -> BusVerbs:
        return self._bus

    @property
    def findings(self) -> FindingVerbs:
        return self._findings

    @property
    def server(self) -> ServerVerbs:
        return self._server
