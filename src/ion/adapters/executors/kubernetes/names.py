"""What things of Ion are called in a cluster: names and labels that Kubernetes takes, whatever they stand for.

A name that is fit is kept as it is. Any other is made fit, and gets a piece of its hash, so that two never become one.
"""

import hashlib
import re
from collections.abc import Mapping

from ion.adapters.executors.kubernetes.fit import LABEL_MOST, is_dns_label, is_label_value, is_subdomain
from ion.adapters.executors.kubernetes.settings import DEFAULT_INSTANCE
from ion.model.job import Job
from ion.ports.executor import Handle

NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
JOB = "ion.dev/job"
ATTEMPT = "ion.dev/attempt"
MODULE = "ion.dev/module"
CORRELATION_ID = "ion.dev/correlation-id"
LEDGER = "ion.dev/ledger"
"""Which ledger an attempt is of: who keeps another one must not take it for its own, nor for a leftover."""
NETWORK = "ion.dev/network"
"""`none` on pods of modules that may not use the network: for a NetworkPolicy to select."""

DISPATCHER = "ion-dispatcher"
"""Who manages what belongs to jobs."""
_HASH_DIGITS = 10
_LEDGER_DIGITS = 8


def label_value(text: str) -> str:
    """The text as a label's value."""
    if is_label_value(text):
        return text
    return _hashed(text, re.sub(r"[^-A-Za-z0-9_.]+", "-", text).lstrip("-_."), LABEL_MOST)


def dns_label(text: str, most: int = LABEL_MOST) -> str:
    """The text as a name without dots (RFC 1123 label) of at most `most` characters; at least 12 of them."""
    if is_dns_label(text, most):
        return text
    return _hashed(text, re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-"), most)


def job_name(job: str, attempt: int, ledger: str = "") -> str:
    """The name of an attempt's Job and Secret. A label as well as a name: its pods carry it as `job-name`.

    With a piece of the ledger's mark: two Ions that hear of the same event have jobs of the same id.
    """
    return dns_label(f"ion-{job}-{attempt}{'-' if ledger else ''}{ledger[:_LEDGER_DIGITS]}")


def module_config(group: str, instance: str = DEFAULT_INSTANCE) -> str:
    """The name of the ConfigMap that owns a module's Jobs, by the module's group; each instance has one of its own.

    A pipeline's name and a module's have an underscore between them, which no name may have: it becomes a dot.
    """
    first = "ion-module-" if instance == DEFAULT_INSTANCE else f"ion-module.{instance}."
    dotted = f"{first}{group.replace('_', '.')}"
    if "." not in group and is_subdomain(dotted):
        return dotted
    return dns_label(f"{first}{group}")


def job_labels(job: Job, instance: str, ledger: str = "") -> dict[str, str]:
    """The labels of everything that belongs to an attempt. The last three are those that the original gave."""
    labels = {
        **instance_labels(instance, ledger),
        JOB: label_value(job.id),
        ATTEMPT: str(job.attempt),
        MODULE: label_value(job.module),
        CORRELATION_ID: job.correlation_id,
        "createdBy": "ion",
        "moduleName": label_value(job.module),
        "id": label_value(job.id),
    }
    if not is_label_value(job.correlation_id):
        del labels[CORRELATION_ID]
    return labels


def instance_labels(instance: str, ledger: str = "") -> dict[str, str]:
    """The labels that all attempts of one Ion have, and nothing else has."""
    mark = {LEDGER: ledger} if ledger else {}
    return {NAME: "ion", COMPONENT: "job", MANAGED_BY: DISPATCHER, INSTANCE: label_value(instance), **mark}


def selector(labels: Mapping[str, str]) -> str:
    """The label selector for what has all of these."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


def handle_of(labels: Mapping[str, str], scope: str) -> Handle | None:
    """Whose attempt something with these labels belongs to; None if they do not say."""
    job, attempt = labels.get(JOB, ""), labels.get(ATTEMPT, "")
    if not job or not re.fullmatch("[1-9][0-9]{0,8}", attempt):
        return None
    return Handle(scope=scope, job=job, attempt=int(attempt))


def _hashed(text: str, fit: str, most: int) -> str:
    """Something fit, cut to make room for a piece of the text's hash."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    kept = fit[: most - _HASH_DIGITS - 1].rstrip("-_.")
    return f"{kept}-{digest}" if kept else digest
