"""All groups of verbs in one hand."""

from abc import ABC, abstractmethod

from ion.management.verbs.bus import BusVerbs
from ion.management.verbs.events import EventVerbs
from ion.management.verbs.findings import FindingVerbs
from ion.management.verbs.flows import FlowVerbs
from ion.management.verbs.jobs import JobVerbs
from ion.management.verbs.letters import LetterVerbs
from ion.management.verbs.modules import ModuleVerbs
from ion.management.verbs.server import ServerVerbs


class Management(ABC):
    """See the package's text."""

    @property
    @abstractmethod
    def jobs(self) -> JobVerbs: ...

    @property
    @abstractmethod
    def letters(self) -> LetterVerbs: ...

    @property
    @abstractmethod
    def flows(self) -> FlowVerbs: ...

    @property
    @abstractmethod
    def modules(self) -> ModuleVerbs: ...

    @property
    @abstractmethod
    def events(self) -> EventVerbs: ...

    @property
    @abstractmethod
    def bus(self) -> BusVerbs: ...

    @property
    @abstractmethod
    def findings(self) -> FindingVerbs: ...

    @property
    @abstractmethod
    def server(self) -> ServerVerbs: ...
