"""How attempts end badly, in the words that are the same wherever they ran."""

import signal

from ion.errors import InvalidError, IonError
from ion.model.job import Failure, FailureClass
from ion.model.module import Module


def of_error(error: Exception) -> Failure:
    """What an error around the module says. One that is not Ion's own must still give the job an end."""
    if isinstance(error, IonError):
        kind = FailureClass.CONTRACT if isinstance(error, InvalidError) else FailureClass.INFRASTRUCTURE
        return Failure(kind=kind, message=str(error))
    return Failure(kind=FailureClass.INFRASTRUCTURE, message=f"{type(error).__name__}: {error}")


def late(module: Module) -> Failure:
    message = f"it ran longer than its time limit of {module.timeout_s:g} s"
    return Failure(kind=FailureClass.TIMEOUT, message=message)


def sentence(code: int) -> str:
    """An exit code, negative for a signal, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-code}"
