"""What the Azure Batch executor may be told: by the pipeline file's top level, and by a module.

The vendor's client is not imported here: the pipeline file needs this.
"""

import base64
import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from ion import __version__
from ion.errors import InvalidError
from ion.messaging.nearest import suggestion

HANDLER_IMAGE = f"ghcr.io/ion-events/ion:{__version__}"
"""What prepares and commits, unless something else is said: the image of this very version."""
DAY_S = 86_400.0
_POOL = re.compile(r"[-_A-Za-z0-9]{1,64}")
_INSTANCE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,18}[A-Za-z0-9])?")
_HERE = ("127.0.0.1", "localhost", "::1")


class Registry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registry that wants to know who pulls. The password is a secret, masked in `repr`."""

    server: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Registry(server={self.server!r}, user={self.user!r}, password='***')"


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The account, and what all tasks in it have. Raises InvalidError for what cannot be. `key` and the passwords are
    masked in `repr`.
    """

    secrets: ClassVar[tuple[str, ...]] = ("key",)

    url: str = ""
    """The account's URL: https://NAME.REGION.batch.azure.com."""
    account: str = ""
    """Its name; empty: the first part of the URL's host."""
    key: str = ""
    """Its key; empty: whatever identity azure-identity finds, a managed one say."""
    pool: str = ""
    """The pool of modules that do not name one."""
    instance: str = "ion"
    """Tells the jobs of one Ion from those of another in the same account."""
    handler_image: str = ""
    """The image of `prepare` and `commit`; empty: this version's own."""
    registries: tuple[Registry, ...] = ()
    """Who nodes are to registries whose images are not for everybody."""
    identity: str = ""
    """The resource id of a managed identity of the pool that may read the blobs; empty: links are signed instead."""
    slack_s: float = 600.0
    """Seconds that prepare and commit may take each."""
    kept_s: float = DAY_S
    """Seconds for which a node keeps the folder of a task that ended, if no dispatcher removes it."""
    poll_s: float = 2.0
    """Seconds between two questions for what has changed."""

    @property
    def name(self) -> str:
        """The account's name."""
        return self.account or (urlsplit(self.url).hostname or "").partition(".")[0]

    def __post_init__(self) -> None:
        place = urlsplit(self.url)
        if self.url and (place.scheme not in ("https", "http") or not place.hostname or place.path.strip("/")):
            raise InvalidError(f"the url {self.url!r} is no account's: write https://NAME.REGION.batch.azure.com")
        if place.scheme == "http" and place.hostname not in _HERE:
            raise InvalidError(f"the url {self.url!r} is not encrypted: write it with https://")
        if self.pool and not _POOL.fullmatch(self.pool):
            raise InvalidError(_no_pool(self.pool))
        if not _INSTANCE.fullmatch(self.instance):
            raise InvalidError(f"the instance {self.instance!r} is no name: use up to 20 of a-z, A-Z, 0-9 and dashes")
        if not _is_base64(self.key):
            raise InvalidError("the key is no account's: copy one of the two keys as the portal shows them")
        if min(self.slack_s, self.kept_s, self.poll_s) <= 0:
            raise InvalidError("slack, kept and poll have to be longer than nothing")

    def __repr__(self) -> str:
        said = {**{name: getattr(self, name) for name in self.__struct_fields__}, "key": "***" if self.key else ""}
        return f"BatchSettings({', '.join(f'{name}={value!r}' for name, value in said.items())})"


class ModuleOptions(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """What one module says about its tasks: its `azurebatch` mapping, typed."""

    pool: str = ""
    """The pool of its tasks, in place of the setting's."""
    handler_image: str = ""
    """The image of `prepare` and `commit` for this module."""
    slots: int = 1
    """Of how many of a node's task slots one of its tasks has need."""

    def __post_init__(self) -> None:
        if self.pool and not _POOL.fullmatch(self.pool):
            raise InvalidError(_no_pool(self.pool))
        if not 1 <= self.slots <= 256:
            raise InvalidError("slots are 1 to 256")


def options_of(options: dict[str, Any]) -> ModuleOptions:
    """What a module says in its `azurebatch` mapping. Raises InvalidError, with words that follow a module's name."""
    known = {field.encode_name for field in msgspec.structs.fields(ModuleOptions)}
    if unknown := sorted(options.keys() - known):
        raise InvalidError(
            f"its azurebatch settings have the unknown key {unknown[0]!r}; {suggestion(unknown[0], known)}"
        )
    try:
        return msgspec.convert(options, ModuleOptions)
    except (msgspec.ValidationError, InvalidError) as error:
        raise InvalidError(f"its azurebatch settings cannot be used: {error}") from error


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _no_pool(name: str) -> str:
    return f"the pool {name!r} is no name in Batch: use up to 64 letters, digits, dashes and underscores"
