"""How an object store is reached, and how much of this host it may take. No client is imported here."""

from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from ion.errors import InvalidError

MIB = 1024 * 1024

_OWN = {
    "az": ("account", "account_key", "sas", "token", "hierarchical"),
    "s3": ("region", "access_key_id", "secret_access_key", "session_token", "role", "sts_endpoint"),
    "gs": ("service_account", "token"),
}
"""The schemes, and which settings mean something there alone."""
_LEAST_PART = 5 * MIB
SHORT = 10 * MIB
"""Of the memory, what is left to small transfers while large ones are under way."""


class ObjectsSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One container or bucket, and the place in it: `az://container/prefix`, `s3://bucket/prefix`, `gs://bucket/prefix`.

    `endpoint` is the service's URL where it is not the vendor's own; `allow_http` allows one without encryption, and
    the PEM file `ca` adds authorities to the system's.

    Who this is: on Azure the `account`, and its `account_key`, a `sas` token of the container, or a bearer `token`; on
    S3 `access_key_id` with `secret_access_key` and perhaps `session_token`; on GCS the path `service_account` of a key
    file, or a bearer `token`. Without these it is the identity of the machine, pod or environment, as the vendors'
    own tools find it. Secrets are masked in `repr`.

    What grants are made with: on Azure the `account_key`; with `hierarchical` the account has a hierarchical namespace,
    where rights can be of a folder. On S3 `role` is the ARN of what is assumed for a grant, with these credentials, at
    `sts_endpoint`: where it is left out at `endpoint`, or else at Amazon's of the region.

    A request may take `timeout_s` seconds in all, `connect_timeout_s` until it is connected. What may pass by itself
    (5xx, a connection that broke) is tried again `retries` times, for at most `retry_for_s` seconds, with back-off.

    Files larger than `part_size` bytes are carried in parts. All transfers of this store together hold about `memory`
    bytes at most; of those that take one request, `at_once` go on at a time.
    """

    secrets: ClassVar[tuple[str, ...]] = ("account_key", "sas", "token", "secret_access_key", "session_token")

    url: str
    endpoint: str = ""
    region: str = ""
    account: str = ""
    account_key: str = ""
    sas: str = ""
    token: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    service_account: str = ""
    hierarchical: bool = False
    role: str = ""
    sts_endpoint: str = ""
    ca: str = ""
    allow_http: bool = False
    timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    retries: int = 5
    retry_for_s: float = 30.0
    part_size: int = 5 * MIB
    memory: int = 64 * MIB
    at_once: int = 32

    def __post_init__(self) -> None:
        self._check_place()
        self._check_identity()
        if self.part_size < _LEAST_PART:
            raise InvalidError(f"part_size is less than the {_LEAST_PART} bytes that stores want; make it larger")
        if self.memory < SHORT + 4 * self.part_size + 4 * MIB:
            raise InvalidError(
                "memory is too little to carry two files at once in such parts; give more, or less part_size"
            )
        if self.at_once < 1 or self.retries < 0:
            raise InvalidError("at_once has to be 1 or more, retries 0 or more")
        if min(self.timeout_s, self.connect_timeout_s, self.retry_for_s) <= 0:
            raise InvalidError("timeout, connect_timeout and retry_for have to be longer than nothing")

    def _check_place(self) -> None:
        parts = urlsplit(self.url)
        if self.kind not in _OWN or not self.bucket or parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidError(
                f"{self.url!r} names no object store: write az://CONTAINER, s3://BUCKET or gs://BUCKET, "
                "perhaps with a /PREFIX, and nothing else"
            )
        for endpoint in filter(None, (self.endpoint, self.sts_endpoint)):
            if urlsplit(endpoint).scheme not in ("http", "https"):
                raise InvalidError(f"the endpoint {endpoint!r} is no URL: begin it with https://")
            if endpoint.startswith("http:") and not self.allow_http:
                raise InvalidError(f"the endpoint {endpoint!r} is not encrypted: take https://, or set allow_http")

    def _check_identity(self) -> None:
        others = {name for names in _OWN.values() for name in names} - set(_OWN[self.kind])
        if strange := sorted(name for name in others if getattr(self, name)):
            raise InvalidError(f"{strange[0]} means nothing to a store of {self.kind}://; leave it out")
        if self.kind == "az" and not self.account:
            raise InvalidError(f"account is missing: whose container is {self.bucket!r}?")
        if sum(map(bool, (self.account_key, self.sas, self.token, self.service_account))) > 1:
            raise InvalidError("there is more than one way to say who this is; write one of them")

    @property
    def kind(self) -> str:
        """`az`, `s3` or `gs`."""
        return urlsplit(self.url).scheme

    @property
    def bucket(self) -> str:
        """The bucket; on Azure the container."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What stands before every key: empty, or ending in a slash."""
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""

    def authority(self) -> str:
        """The PEM text of `ca`, which may be that text itself; "" without one. Raises InvalidError."""
        if not self.ca or self.ca.startswith("-----BEGIN"):
            return self.ca
        try:
            return Path(self.ca).read_text(encoding="utf-8", errors="replace")  # comments may be in any encoding
        except OSError as error:
            raise InvalidError(f"ca: {self.ca} cannot be read: {error.strerror}") from error

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "***" for name in self.secrets if shown[name]}
        return f"ObjectsSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
