"""What things of Ion are called in a Batch account: ids of at most 64 letters, digits, dashes and underscores.

Batch takes two ids for the same that differ in case only. So an id that is not fit as it is gets a piece of its hash.
"""

import hashlib
import re

from ion.ports.executor import Handle

ID_MOST = 64
_FIT = re.compile(rf"[-_a-z0-9]{{1,{ID_MOST}}}")
_HASH_DIGITS = 12
_HANDLE = re.compile(r"(?:.*: )?(?P<job>[^/ ]+)/(?P<attempt>[1-9][0-9]{0,8})")


def fit(text: str, most: int = ID_MOST) -> str:
    """The text as an id, or a part of one, of at most `most` characters; kept as it is if it can be."""
    if _FIT.fullmatch(text) and len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    kept = re.sub(r"[^-_a-z0-9]+", "-", text.lower())[: most - _HASH_DIGITS - 1].strip("-_")
    return f"{kept}-{digest}" if kept else digest


def task_id(job: str, attempt: int) -> str:
    """The id of an attempt's task: whoever adds it a second time finds the first."""
    return fit(f"{job}-{attempt}")


def jobs_prefix(instance: str, ledger: str) -> str:
    """How the ids of the Batch jobs begin in which the attempts of one ledger are."""
    return f"ion-{instance.lower()}-{hashlib.sha256(ledger.encode()).hexdigest()[:10]}-"


def batch_job_id(instance: str, ledger: str, pool: str) -> str:
    """The Batch job of a ledger's attempts in one pool."""
    prefix = jobs_prefix(instance, ledger)
    return f"{prefix}{fit(pool, ID_MOST - len(prefix))}"


def display_name(module: str, job: str, attempt: int) -> str:
    """What people see of a task; `handle_of` reads it."""
    return f"{module}: {job}/{attempt}"


def handle_of(shown: str, scope: str) -> Handle | None:
    """Whose attempt a task is, by its display name; None if that does not say."""
    found = _HANDLE.fullmatch(shown)
    return Handle(scope=scope, job=found["job"], attempt=int(found["attempt"])) if found else None
