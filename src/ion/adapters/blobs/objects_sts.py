"""Passing keys of S3 with less rights: a role is assumed with a policy of the session, which can only take away.

The call is one signed request, so no SDK is needed for it. A session's policy has at most 2,048 characters. Where the
names of all blobs do not fit, the folders of the executions that wrote them stand for them, and where these do not fit
either, further sessions have the rest.
"""

import hashlib
import hmac
import json
import math
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.parse import urlencode, urlsplit

import msgspec

from ion.adapters.blobs.objects_errors import RefusedError
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import InvalidError, IonError, UnavailableError

LEAST_S, MOST_S = 900, 12 * 3600
"""How long a session may last."""
POLICY_MOST = 2048

_WRITES = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload")
_WRONG = frozenset({"ValidationError", "InvalidParameterValue", "MalformedPolicyDocument", "PackedPolicyTooLarge"})
_EXECUTION_PARTS = 3


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that end at `ends_at`, as the settings call them."""

    keys: dict[str, str]
    ends_at: datetime


def policies(settings: ObjectsSettings, reads: Collection[str], below: str) -> list[tuple[str, list[str]]]:
    """What sessions may do, the first the writing, each with the paths that it reads. Raises InvalidError."""
    writing = {"Effect": "Allow", "Action": _WRITES, "Resource": [_arn(settings, f"{below}*")]}
    exact = {_arn(settings, path): [path] for path in reads}
    if len(text := _policy(writing, list(exact))) <= POLICY_MOST:
        return [(text, list(reads))]
    folders: dict[str, list[str]] = {}
    for path in reads:
        folders.setdefault(_arn(settings, f"{_execution(path)}*"), []).append(path)
    made = []
    for first, some in _packed(writing, list(folders)):
        text = _policy(writing if first else None, some)
        if len(text) > POLICY_MOST:
            raise InvalidError(
                f"{settings.url} and {below!r} are too long for a policy of a session; take a short prefix"
            )
        made.append((text, [path for folder in some for path in folders[folder]]))
    return made


def _packed(writing: object, resources: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """As few groups as will do; the flag marks the first, which has the writing too."""
    first, some = True, list[str]()
    for resource in resources:
        if len(_policy(writing if first else None, [*some, resource])) > POLICY_MOST and (some or first):
            yield first, some
            first, some = False, []
        some.append(resource)
    yield first, some


def _policy(writing: object | None, resources: Sequence[str]) -> str:
    reading = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": resources}
    statements = ([writing] if writing else []) + ([reading] if resources else [])
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _arn(settings: ObjectsSettings, path: str) -> str:
    """A `$` would begin a variable of the policy, so any character may stand for it."""
    partition = settings.role.split(":")[1] if settings.role.startswith("arn:") else "aws"
    return f"arn:{partition}:s3:::{settings.bucket}/{settings.prefix}{path}".replace("$", "?")


def _execution(path: str) -> str:
    """The folder of the execution that wrote a blob."""
    return "/".join(path.split("/")[:-1][:_EXECUTION_PARTS]) + "/"


def assume(settings: ObjectsSettings, policy: str, lasts_s: float, name: str) -> Session:
    """Asks for a session. Blocks for `timeout_s` of the settings at most.

    Raises:
        InvalidError: no session lasts so long, or it does not take the policy.
        UnavailableError: nobody answers, or the role is refused.
    """
    if lasts_s > MOST_S:
        raise InvalidError(f"a role is assumed for {MOST_S} s at most, not for {lasts_s:.0f} s; ask again in time")
    asked = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": settings.role,
        "RoleSessionName": f"ion-{re.sub(r'[^A-Za-z0-9_+=,.@-]', '-', name.strip('/'))}"[:64],
        "DurationSeconds": str(max(LEAST_S, math.ceil(lasts_s))),
        "Policy": policy,
    }
    answer = _answer(settings, urlencode(asked).encode())
    names = {"access_key_id": "AccessKeyId", "secret_access_key": "SecretAccessKey", "session_token": "SessionToken"}
    keys = {ours: _element(settings, answer, theirs) for ours, theirs in names.items()}
    return Session(keys=keys, ends_at=datetime.fromisoformat(_element(settings, answer, "Expiration")))


def _element(settings: ObjectsSettings, answer: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]+)</{name}>", answer)
    if found is None:
        raise UnavailableError(f"{_place(settings)} answers without {name}; see that the sts_endpoint is one")
    return found[1]


def _place(settings: ObjectsSettings) -> str:
    if place := settings.sts_endpoint or settings.endpoint:
        return place
    region = settings.region or "us-east-1"
    return f"https://sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _answer(settings: ObjectsSettings, body: bytes) -> str:
    place = _place(settings)
    request = urllib.request.Request(f"{place.rstrip('/')}/", body, _signed(settings, body, datetime.now(UTC)))  # noqa: S310 - checked by the settings
    trusting = ssl.create_default_context() if place.startswith("https:") else None
    if trusting and settings.ca:
        trusting.load_verify_locations(cadata=settings.authority())
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout_s, context=trusting) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(64 * 1024).decode(errors="replace")
        raise _refusal(settings, error.code, said) from error
    except (OSError, HTTPException) as error:
        fault = getattr(error, "reason", error)
        raise UnavailableError(f"{place} does not answer ({fault}), so nothing can be granted; retry") from error


def _refusal(settings: ObjectsSettings, status: int, answer: str) -> IonError:
    found = re.search(r"<Code>(\w+)</Code>", answer)
    said = f"{status} {found[1]}" if found else str(status)
    about = f"{_place(settings)} does not give the role {settings.role} ({said})"
    if found and found[1] in _WRONG:
        return InvalidError(f"{about}; see how long the role may be assumed, and shorten the store's prefix")
    if status in (400, 401, 403):
        return RefusedError(f"{about}; check the role, whom it trusts, and the blobs' own credentials")
    return UnavailableError(f"{about}; retry")


def _signed(settings: ObjectsSettings, body: bytes, now: datetime) -> dict[str, str]:
    """The request's headers, with AWS's signature of version 4."""
    at, region = now.strftime("%Y%m%dT%H%M%SZ"), settings.region or "us-east-1"
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": urlsplit(_place(settings)).netloc,
        "x-amz-date": at,
    }
    if settings.session_token:
        headers["x-amz-security-token"] = settings.session_token
    names, scope = ";".join(headers), f"{at[:8]}/{region}/sts/aws4_request"
    lines = ["POST", "/", "", *(f"{name}:{value}" for name, value in headers.items()), "", names, _hash(body)]
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, _hash("\n".join(lines).encode())])
    secret = f"AWS4{settings.secret_access_key}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    who = f"Credential={settings.access_key_id}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {who}, SignedHeaders={names}, Signature={signature}"
    return headers


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
