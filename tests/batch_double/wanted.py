"""What callers may want made, jobs and tasks: the service refuses what is no property of theirs, or no value of one.

Their properties are those that the vendor's client knows; the limits are in its descriptions of them.
"""

import re
from typing import Any

from azure.batch import models

Document = dict[str, Any]
_ID = re.compile(r"[-_A-Za-z0-9]{1,64}")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")
_MODE = re.compile(r"0?[0-7]{3}")
_SHOWN_MOST = 1024
_SLOTS_MOST = 256


class Refused(Exception):  # noqa: N818 - an answer
    """An answer that is an error. `after_s` becomes its `Retry-After`."""

    def __init__(self, status: int, code: str, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.after_s = status, code, message, after_s


def job_wanted(wanted: Document) -> str:
    """The id of a job that can be made. Raises Refused."""
    _known(wanted, models.BatchJobCreateOptions)
    _known(_required(wanted, "poolInfo"), models.BatchPoolInfo)
    _required(wanted["poolInfo"], "poolId")
    return _identified(wanted)


def task_wanted(wanted: Document) -> str:
    """The id of a task that can be made. Raises Refused."""
    _known(wanted, models.BatchTaskCreateOptions)
    _required(wanted, "commandLine")
    _fits("requiredSlots", 1 <= wanted.get("requiredSlots", 1) <= _SLOTS_MOST)
    limits = wanted.get("constraints") or {}
    _known(limits, models.BatchTaskConstraints)
    for name in ("maxWallClockTime", "retentionTime"):
        if name in limits:
            _fits(name, seconds(limits[name]) > 0)
    for file in wanted.get("resourceFiles") or ():
        _known(file, models.ResourceFile)
        _fits("filePath", bool(_required(file, "filePath")) and not str(file["filePath"]).startswith("/"))
        _fits("fileMode", _MODE.fullmatch(file.get("fileMode", "0770")) is not None)
        _required(file, "httpUrl")
    return _identified(wanted)


def seconds(duration: str) -> float:
    """An ISO 8601 duration."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise Refused(400, "InvalidPropertyValue", f"The value {duration} is no duration.")
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def _identified(wanted: Document) -> str:
    name = _required(wanted, "id")
    _fits("id", _ID.fullmatch(name) is not None)
    _fits("displayName", len(wanted.get("displayName") or "") <= _SHOWN_MOST)
    return str(name)


def _known(document: Document, model: type) -> None:
    """Raises Refused for a property that the model has not."""
    names = {name.replace("_", "").lower() for base in model.__mro__ for name in getattr(base, "__annotations__", {})}
    if unknown := sorted(name for name in document if name.lower() not in names):
        raise Refused(400, "UnsupportedProperty", f"One of the properties is not supported: {unknown[0]}.")


def _required(document: Document, name: str) -> Any:
    if not document.get(name):
        raise Refused(400, "MissingRequiredProperty", f"A required property was not specified: {name}.")
    return document[name]


def _fits(name: str, fits: bool) -> None:
    if not fits:
        raise Refused(400, "InvalidPropertyValue", f"The value provided for one of the properties is invalid: {name}.")
