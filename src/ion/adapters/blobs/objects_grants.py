"""Grants of an object store: which narrow credentials it can make of its own, and what goes into one.

Azure signs without a call. A signature is of one blob, of a container, or of a folder where the account has a
hierarchical namespace. So each input has a signature of its own, for reading; writing is a signature of the attempt's
folder, or else of the container, for nothing but creating: a blob that is there is refused.

S3 assumes a role, with a policy that names the inputs and the folder. What it may put it may also put again, so there
a folder's own blobs can be overwritten, and no others.
"""

import asyncio
import functools
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec

from ion.adapters.blobs import objects_sas
from ion.adapters.blobs.objects_sas import Resource
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import UnsupportedError
from ion.ports.blobs import Grant

ADAPTER = "objects"
_HELP = {
    "az": "open it with the account_key",
    "s3": "set role, and write access_key_id and secret_access_key",
    "gs": "there is nothing of this kind for gs:// yet",
}


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A credential, as the settings call its parts, and the paths of the blobs that it is there to read."""

    credential: dict[str, str]
    reads: tuple[str, ...]


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """A grant's content. `settings` have no credential; `writes` is the one that puts, below the folder `below`."""

    settings: ObjectsSettings
    below: str
    writes: dict[str, str]
    keys: tuple[Key, ...]


def narrows(settings: ObjectsSettings) -> tuple[bool, bool]:
    """Whether reading can be narrowed, and whether writing can."""
    if settings.kind == "s3":
        can = bool(settings.role and settings.access_key_id)
        return can, can
    can = bool(settings.account_key)
    return can, can and settings.hierarchical


async def made(settings: ObjectsSettings, reads: Collection[str], below: str, lasts_s: float) -> Grant:
    """See `Blobs.narrowed`; all paths are checked already."""
    if not narrows(settings)[0]:
        raise UnsupportedError(f"{settings.url} cannot narrow its credentials as it is opened: {_HELP[settings.kind]}")
    reads = tuple(dict.fromkeys(reads))
    if settings.kind == "s3":
        return await _assumed(settings, reads, below, lasts_s)
    return _signed(settings, reads, below, datetime.now(UTC) + timedelta(seconds=lasts_s))


def _grant(ring: Ring, ends_at: datetime) -> Grant:
    return Grant(adapter=ADAPTER, ends_at=ends_at, content=msgspec.json.decode(msgspec.json.encode(ring)))


def _anonymous(settings: ObjectsSettings) -> ObjectsSettings:
    """The settings without who this is; a file of this host's that they name is in them."""
    nobody = dict.fromkeys((*settings.secrets, "access_key_id", "service_account", "role", "sts_endpoint"), "")
    return msgspec.structs.replace(settings, **nobody, ca=settings.authority())


def _signed(settings: ObjectsSettings, reads: Collection[str], below: str, until: datetime) -> Grant:
    until = until.replace(microsecond=0) + timedelta(seconds=1)
    sign = functools.partial(objects_sas.token, settings, until=until)
    if settings.hierarchical:
        writes = sign(Resource.FOLDER, f"{settings.prefix}{below}".rstrip("/"), "rc")
    else:
        writes = sign(Resource.CONTAINER, "", "c")
    keys = [
        Key(credential={"sas": sign(Resource.BLOB, f"{settings.prefix}{path}", "r")}, reads=(path,)) for path in reads
    ]
    ring = Ring(
        settings=_anonymous(settings),
        below=below,
        writes={"sas": writes},
        keys=tuple(keys),
    )
    return _grant(ring, until)


async def _assumed(settings: ObjectsSettings, reads: Collection[str], below: str, lasts_s: float) -> Grant:
    from ion.adapters.blobs import objects_sts  # who opens a grant need not wait for what made it

    plans = objects_sts.policies(settings, reads, below)
    asking = [asyncio.to_thread(objects_sts.assume, settings, policy, lasts_s, below) for policy, _ in plans]
    sessions = await asyncio.gather(*asking)
    keys = [
        Key(credential=session.keys, reads=tuple(paths)) for session, (_, paths) in zip(sessions, plans, strict=True)
    ]
    ring = Ring(settings=_anonymous(settings), below=below, writes=sessions[0].keys, keys=tuple(keys))
    return _grant(ring, min(session.ends_at for session in sessions))
