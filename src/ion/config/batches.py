"""Azure Batch in the pipeline file: the account at the top, and what one module says about its tasks.

What a module says stays JSON, for the executor to read: here it is only made sure that it is what may stand there.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.adapters.executors.azurebatch.settings import BatchSettings, ModuleOptions, Registry
from ion.config.kinds import FILLED, Duration, Text, Whole
from ion.config.tables import Field, Many, Section
from ion.errors import InvalidError

_POOL = Text(pattern=r"[-_A-Za-z0-9]{1,64}", wants="up to 64 letters, digits, dashes and underscores")
_REGISTRY = Section(
    name="azurebatch_registry",
    doc="Who nodes are to a registry.",
    build=Registry,
    struct=Registry,
    required=("server", "user", "password"),
    fields={
        "server": Field(kind=FILLED, doc="The registry: acme.azurecr.io."),
        "user": Field(kind=FILLED, doc="Who pulls."),
        "password": Field(kind=FILLED, doc="The user's password: ${VARIABLE}."),
    },
)

AZUREBATCH = Section(
    name="azurebatch",
    doc="The Azure Batch account where modules with `provider: azurebatch` run; needs ion-events[azurebatch].",
    struct=BatchSettings,
    build=BatchSettings,
    fields={
        "url": Field(kind=FILLED, doc="The account's URL: https://NAME.REGION.batch.azure.com."),
        "account": Field(kind=FILLED, doc="Its name; else the first part of the URL's host."),
        "key": Field(kind=FILLED, doc="Its key: ${VARIABLE}, or ION_AZUREBATCH_KEY; else an identity of Azure's."),
        "pool": Field(kind=_POOL, doc="The pool of modules that do not name one."),
        "instance": Field(kind=FILLED, doc="Tells this Ion's jobs from those of another in the account."),
        "handlerImage": Field(
            kind=FILLED, doc="The image that prepares and commits; else this version's.", into="handler_image"
        ),
        "registry": Field(
            kind=Many(item=_REGISTRY, single=True),
            doc="Registries that want to know who pulls: {server, user, password}.",
            into="registries",
        ),
        "identity": Field(
            kind=FILLED,
            doc="The resource id of a managed identity of the pool that reads the blobs; else signed links.",
        ),
        "slack": Field(
            kind=Duration(), doc="What prepare and commit may take before a task is ended: 10m.", into="slack_s"
        ),
        "kept": Field(kind=Duration(), doc="How long a node keeps a task's folder: 1d.", into="kept_s"),
        "poll": Field(kind=Duration(), doc="How often it is asked what has changed: 2s.", into="poll_s"),
    },
)


def _said(**values: Any) -> Mapping[str, Any]:
    """What a module says, as JSON."""
    try:
        msgspec.convert(values, ModuleOptions)
    except msgspec.ValidationError as error:
        raise InvalidError(str(error)) from error
    return values


MODULE_AZUREBATCH = Section(
    name="module_azurebatch",
    doc="What a module says about its tasks on Azure Batch.",
    build=_said,
    fields={
        "pool": Field(kind=_POOL, doc="The pool of its tasks."),
        "handlerImage": Field(kind=FILLED, doc="The image that prepares and commits, for this module."),
        "slots": Field(kind=Whole(least=1, most=256), doc="Of how many of a node's task slots a task has need; 1."),
    },
)
