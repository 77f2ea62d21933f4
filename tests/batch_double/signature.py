"""Shared keys: what a caller signs, and whether it is right.

https://learn.microsoft.com/rest/api/batchservice/authenticate-requests-to-the-azure-batch-service
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

ACCOUNT = "ionbatch"
KEY = base64.b64encode(b"the key of an account that is not one").decode()
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


def signed(method: str, path: str, query: str, headers: Mapping[str, str]) -> str:
    """The `Authorization` that a request has to have. `path` and `query` are as they were sent."""
    given = {name.lower(): value.strip() for name, value in headers.items()}
    if method in ("GET", "HEAD"):
        given.pop("content-length", None)
    lines = [method, *(given.get(name, "") for name in _SIGNED)]
    lines += [f"{name}:{given[name]}" for name in sorted(given) if name.startswith("ocp-")]
    lines.append(f"/{ACCOUNT}{path}")
    lines += [f"{name}:{value}" for name, value in sorted(parse_qsl(query)) if value]
    raw = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return f"SharedKey {ACCOUNT}:{base64.b64encode(raw).decode()}"


def is_signed(method: str, path: str, query: str, headers: Mapping[str, str]) -> bool:
    """Whether the caller has the account's key."""
    said = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
    return hmac.compare_digest(said, signed(method, path, query, headers))
