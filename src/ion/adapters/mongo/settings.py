"""How a MongoDB is reached. No client is imported here: the pipeline file needs this."""

import re
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from ion.errors import InvalidError

_DATABASE_MOST = 38
"""Bytes of a database's name that every server takes."""
_FORBIDDEN = frozenset('/\\. "$*<>:|?')
_SCHEMES = ("mongodb", "mongodb+srv")
_APPLICATION = re.compile(r"(?<=[?&])appName=@[^@&]*@", re.IGNORECASE)
"""What Azure writes into the connection strings of Cosmos DB: `appName=@ACCOUNT@`."""


class MongoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the database is, and how it is used. `uri` and `password` are masked in `repr`."""

    secrets: ClassVar[tuple[str, ...]] = ("uri", "password")

    uri: str = ""
    """A connection string, `mongodb://` or `mongodb+srv://`, as the server's vendor gives it; instead of `hosts`."""
    hosts: tuple[str, ...] = ("127.0.0.1:27017",)
    """`HOST:PORT` of some servers of one replica set, or of the routers of one cluster."""
    replica_set: str = ""
    """The replica set's name, where `hosts` name its members."""
    user: str = ""
    """Who Ion is to the server; needs to read, write and make indexes in `database`."""
    password: str = ""
    """That user's password; never shown."""
    auth_source: str = "admin"
    """The database that knows the user."""
    tls: bool = False
    """Whether the line is encrypted and the server's certificate checked; a `uri` says so by itself."""
    tls_ca: str = ""
    """A PEM file of the authorities that may have signed the server's certificate; empty: the system's."""
    tls_cert: str = ""
    """A PEM file with this client's certificate and its key, where the server asks for one."""
    database: str = "ion"
    """The database that holds everything; two Ions differ in it."""
    cosmos: bool = False
    """The server is Azure Cosmos DB for MongoDB: no retryable writes, collections are spread by their shard keys."""
    timeout_s: float = 5.0
    """Seconds in which every call has its answer, or fails."""
    pool: int = 50
    """Connections that this process keeps open at most."""
    poll_s: float = 0.2
    """Seconds between two looks for what other processes changed."""

    def __post_init__(self) -> None:
        if self.uri and urlsplit(self.uri).scheme not in _SCHEMES:
            raise InvalidError("uri is no connection string of MongoDB; it begins with mongodb:// or mongodb+srv://")
        if "@" in _APPLICATION.sub("", urlsplit(self.uri)._replace(netloc="").geturl()):
            raise InvalidError("uri has a character in its user or password that must be escaped; write / as %2F")
        if not self.uri and not self.hosts:
            raise InvalidError("hosts is empty; name at least one, or give a uri")
        if self.password and not self.user:
            raise InvalidError("password is given without user; write both or none")
        if (self.tls_ca or self.tls_cert) and not (self.tls or self.uri):
            raise InvalidError("a certificate is given, but tls is off; set tls to true")
        if not self.database or len(self.database) > _DATABASE_MOST or _FORBIDDEN & set(self.database):
            raise InvalidError(
                f"database {self.database!r} is no name that every server takes;"
                f" use up to {_DATABASE_MOST} letters, digits, - and _"
            )
        if self.timeout_s <= 0 or self.poll_s <= 0 or self.pool < 1:
            raise InvalidError("timeout, poll and pool must be above 0")

    @property
    def place(self) -> str:
        """The servers, without who logs in."""
        if not self.uri:
            return ",".join(self.hosts)
        return urlsplit(self.uri).netloc.rpartition("@")[2]

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "***" for name in self.secrets if shown[name]}
        return f"MongoSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
