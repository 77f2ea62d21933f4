"""How a PostgreSQL server is reached, and where Ion keeps its tables. No client is imported here: the pipeline file
needs this.
"""

import re
from typing import ClassVar

import msgspec

from ion.errors import InvalidError

SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One schema of one database.

    `host` is a name, an address, or the folder of a unix socket (it begins with a slash). `schema` is made where it is
    missing; two Ions that share a database differ in it. `user` and `password` say who this is; `password` is masked in
    `repr`.

    `sslmode` is libpq's: "verify-full" checks the server's certificate and name against the PEM file `ca`, without it
    against the system's authorities; "require" encrypts and checks nothing. `cert` and `key` are PEM files with this
    client's own certificate, where the server asks for one; nobody but their owner may read the key.

    A process has at most `pool_size` connections for its statements, and one more on which it listens. No statement
    takes longer than `timeout_s` seconds, nor does the wait for a connection.
    """

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "ion"
    user: str = "ion"
    password: str = ""
    schema: str = "ion"
    sslmode: str = "prefer"
    ca: str = ""
    cert: str = ""
    key: str = ""
    pool_size: int = 4
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidError("host is empty; name the PostgreSQL server")
        if not 0 < self.port < 65536:
            raise InvalidError(f"port {self.port} is not a port; PostgreSQL's own is 5432")
        if not _SCHEMA.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InvalidError(
                f"schema {self.schema!r} cannot be one; use up to 48 of a-z, 0-9 and _, beginning with a letter"
            )
        if self.sslmode not in SSL_MODES:
            raise InvalidError(f"sslmode {self.sslmode!r} is not known; choose {', '.join(SSL_MODES)}")
        if self.ca and self.sslmode not in ("verify-ca", "verify-full"):
            raise InvalidError("ca is only looked at with sslmode verify-ca or verify-full; set one of them")
        if bool(self.cert) != bool(self.key):
            raise InvalidError("cert and key belong together; write both or none")
        if self.cert and self.sslmode == "disable":
            raise InvalidError("cert is only shown on an encrypted line; choose another sslmode")
        if self.pool_size < 1:
            raise InvalidError("pool_size is below 1; a process needs at least one connection")
        if not 0 < self.timeout_s <= 60:
            raise InvalidError("timeout is not between 0 and 60 s; 5s is usual")

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown |= {name: "***" for name in self.secrets if shown[name]}
        return f"PostgresSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def place(self) -> str:
        """Where this is, for messages and to tell stores apart; nothing secret is in it."""
        return f"postgresql://{self.host}:{self.port}/{self.database}/{self.schema}"
