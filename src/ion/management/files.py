"""The files of a job, for people: what they are, and links to open them by."""

from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from ion.errors import NotFoundError, UnsupportedError
from ion.management.jobs import results_of
from ion.model.event import FileRef
from ion.model.job import Job
from ion.model.module import Revision
from ion.model.record import Kind, Record
from ion.ports.blobs import Blobs
from ion.ports.ledger import Ledger

LINK_TTL_S = 3600.0


class JobFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: `role` is in, out or log. `link` can be opened without credentials for a while, or is the `uri` where
    the store signs no links; empty if it is gone.
    """

    role: str
    path: str
    size: int
    sha256: str
    uri: str
    link: str = ""


async def files_of(job: Job, blobs: Blobs, *, ttl_s: float = LINK_TTL_S) -> Sequence[JobFile]:
    """What the job got and, once it is committed, what it left; links hold for `ttl_s` seconds."""
    return [await _shown(role, ref, blobs, ttl_s) for role, ref in await _refs(job, blobs)]


async def _refs(job: Job, blobs: Blobs) -> Sequence[tuple[str, FileRef]]:
    results = await results_of(job, blobs)
    refs = [("in", ref) for ref in job.event.files]
    if results is not None:
        refs += [("out", ref) for ref in results.files]
        refs += [("log", results.log)] if results.log else []
    return refs


async def blob_of(job: Job, role: str, path: str, blobs: Blobs) -> str:
    """The blob path of one of a job's files; the role `data` is its event's data, where a row could not hold it.

    Raises:
        NotFoundError: it has no such file.
    """
    if role == "data" and job.event.dataref:
        return job.event.dataref
    for ref in job.event.files if role == "in" else ():  # without a look at the results
        if ref.path == path:
            return ref.blob
    for known, ref in await _refs(job, blobs):
        if (known, ref.path) == (role, path):
            return ref.blob
    raise NotFoundError(f"job {job.id} has no file '{path}' of the role '{role}': `ion job files` lists those it has")


async def _shown(role: str, ref: FileRef, blobs: Blobs, ttl_s: float) -> JobFile:
    link = await _link(ref.blob, blobs, ttl_s)
    return JobFile(role=role, path=ref.path, size=ref.size, sha256=ref.sha256, uri=blobs.uri(ref.blob), link=link or "")


async def revision_of(job: Job, ledger: Ledger) -> Revision:
    """What the job runs, or would if it were claimed now. Raises NotFoundError: its module is a gateway, or gone."""
    if job.revision:
        return await ledger.revision(job.module, job.revision)
    for registered in await ledger.modules():
        if registered.module.name == job.module:
            return registered.revision
    raise NotFoundError(f"job {job.id} belongs to no module ({job.module}): pull a job that one of its events started")


async def with_links(record: Record, blobs: Blobs, *, ttl_s: float = LINK_TTL_S) -> Record:
    """The record with links in place of the URIs of its blobs, where those cannot be opened without credentials."""
    if blobs.guarantees.local or record.context.document_type is Kind.INSIGHT:
        return record
    body = dict(record.body)
    if record.context.document_type is Kind.MODULE_LOGS:
        body["logs"] = await _renewed(body["logs"], blobs, ttl_s)
    else:
        files = set(body["files"])
        body["data"] = [
            {**pair, "value": await _renewed(pair["value"], blobs, ttl_s)} if pair["key"] in files else pair
            for pair in body["data"]
        ]
    return msgspec.structs.replace(record, body=body)


async def _renewed(uri: str, blobs: Blobs, ttl_s: float) -> str:
    base = blobs.uri("x").removesuffix("x")
    if not uri.startswith(base):  # a key of the data that is called like a file, or a blob of an earlier store
        return uri
    return await _link(unquote(uri.removeprefix(base)), blobs, ttl_s) or uri


async def _link(path: str, blobs: Blobs, ttl_s: float) -> str | None:
    try:
        return await blobs.link(path, ttl_s)
    except NotFoundError:  # retention took it
        return None
    except UnsupportedError:  # this store, or who opened it, signs none
        return blobs.uri(path)
