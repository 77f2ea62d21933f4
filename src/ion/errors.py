"""Every error that Ion raises on purpose.

    IonError
    ├── InvalidError            what was given is wrong: the caller can mend it (CLI exit 2, HTTP 4xx)
    │   ├── PipelineError       the pipeline file: names file, line and what to write instead
    │   ├── ContractError       a module broke the module contract: the job fails for good
    │   └── NotFoundError       no such job, flow, module or blob
    ├── DeniedError             the caller may not do that (CLI exit 2, PERMISSION_DENIED)
    ├── ConflictError           well formed, but not possible in the present state (CLI exit 2, HTTP 409)
    │   └── ExistsError         create-only, and something is there already
    ├── UnavailableError        a store, bus or executor does not answer: try again later
    └── UnsupportedError        this adapter, host or combination cannot do that; refused when configured

A message is one sentence that says what is wrong, with which thing, and what to do.
Adapters translate their client's errors into these in one place, `raise ... from error`.
"""


class IonError(Exception):
    """The root of the tree; never raised itself."""


class InvalidError(IonError):
    """What was given is wrong, and giving it again will not help."""


class PipelineError(InvalidError):
    """The pipeline file cannot be used; the message names file and line."""


class ContractError(InvalidError):
    """A module's output breaks the module contract; the message names file and fault."""


class NotFoundError(InvalidError):
    """Nothing is stored under that name."""


class DeniedError(IonError):
    """Whoever asks may not do that, or not with this thing."""


class ConflictError(IonError):
    """Not possible in the present state of the thing."""


class ExistsError(ConflictError):
    """Create-only, and something is stored there already."""


class UnavailableError(IonError):
    """A service does not answer or has no room; the same call may succeed later."""


class UnsupportedError(IonError):
    """Cannot be done by this adapter, on this host, or in this combination."""
