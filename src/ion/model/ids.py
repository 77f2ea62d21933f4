"""Identities that repeat: the same cause always gets the same id, so doing a thing twice changes nothing.

Name-based UUIDs (version 5, RFC 9562 §5.5) over length-safe JSON, in one namespace of Ion's.
"""

import uuid

import msgspec

NAMESPACE = uuid.UUID("7d1a4e0c-31c5-5a33-9d0b-6b6f1f0a2018")


def _derive(*parts: str | int) -> str:
    return str(uuid.uuid5(NAMESPACE, msgspec.json.encode(parts).decode()))


def new_id() -> str:
    """A fresh random UUID, in canonical text."""
    return str(uuid.uuid4())


def foreign_event_id(source: str, event_id: str) -> str:
    """The id inside Ion of an event made elsewhere: CloudEvents ids are unique per source only."""
    return _derive("event", source, event_id)


def job_id(event_id: str, module: str, run: int = 0) -> str:
    """The id of the job that `module` does for an event; a second delivery gives the same."""
    return _derive("job", event_id, module, run)


def root_job_id(event_id: str, gateway: str) -> str:
    """The id of the job by which a gateway raises an event; no module's job has it, whatever the gateway is called."""
    return _derive("root", event_id, gateway)


def output_event_id(job: str, file_name: str) -> str:
    """The id of the event that a job raises with the event file `file_name`."""
    return _derive("output", job, file_name)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in canonical lower-case text."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
