"""What can be asked of an Ion, whether it is here or elsewhere: the commands and the API's clients speak to these.

`Management` is a handful of groups of verbs, abstract classes all. `ion.management.local` does them on the ports of an
open store, `ion.management.rpc` asks a server to. Both give the same results and raise the same errors (`ion.errors`):
a command does not know which of the two it has.

What holds of every verb: ids may be given as the beginning of one, wherever that is unmistakable; a change is by the
`actor` that the implementation was made for; a refused change has changed nothing; a verb that gives an iterator reads
in short steps and may be left at any point. Arguments and results are plain: texts, numbers, times, frozen structs.
Verbs are keyword-only, for their arguments are the fields of the API's requests.
"""

from ion.management.verbs.bus import BusVerbs
from ion.management.verbs.events import EventVerbs
from ion.management.verbs.findings import FindingVerbs
from ion.management.verbs.flows import FlowVerbs
from ion.management.verbs.jobs import JobVerbs
from ion.management.verbs.letters import LetterVerbs
from ion.management.verbs.management import Management
from ion.management.verbs.modules import ModuleVerbs
from ion.management.verbs.server import ServerVerbs

__all__ = [
    "BusVerbs",
    "EventVerbs",
    "FindingVerbs",
    "FlowVerbs",
    "JobVerbs",
    "LetterVerbs",
    "Management",
    "ModuleVerbs",
    "ServerVerbs",
]
