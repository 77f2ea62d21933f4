"""Azure's shared access signatures, made with the account's key: what one opens, for what, and until when.

See https://learn.microsoft.com/rest/api/storageservices/create-service-sas; the order of the signed lines is the
service's.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlencode

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import InvalidError

VERSION = "2022-11-02"


class Resource(StrEnum):
    CONTAINER = "c"
    FOLDER = "d"  # only where the account has a hierarchical namespace
    BLOB = "b"


def token(settings: ObjectsSettings, resource: Resource, name: str, permissions: str, until: datetime) -> str:
    """The query that opens a resource. Raises InvalidError where the account's key is none.

    Args:
        settings: They have the `account_key`.
        resource: What is opened.
        name: The blob's key, the folder's without a slash at its end, "" for the container.
        permissions: Letters in the service's order: `r` reads, `c` creates.
        until: When it ends.
    """
    ends = until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    place = "/".join(filter(None, ("/blob", settings.account, settings.bucket, name)))
    protocol = "" if settings.allow_http else "https"
    lines = [permissions, "", ends, place, "", "", protocol, VERSION, resource, "", "", "", "", "", "", ""]
    try:
        secret = base64.b64decode(settings.account_key, validate=True)
    except binascii.Error as error:
        raise InvalidError(f"the account_key of {settings.url} is not base64") from error
    signature = base64.b64encode(hmac.digest(secret, "\n".join(lines).encode(), hashlib.sha256)).decode()
    query = {"sv": VERSION, "sr": resource.value, "sp": permissions, "se": ends}
    if resource is Resource.FOLDER:
        query["sdd"] = str(name.count("/") + 1)
    if protocol:
        query["spr"] = protocol
    return urlencode({**query, "sig": signature})
