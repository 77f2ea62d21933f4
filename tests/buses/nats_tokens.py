"""What `nsc` makes for a NATS server that trusts an operator: keys, signed tokens, and credentials files of users.

A token is three parts of base64, header, claims and an Ed25519 signature of the two, by the key of whoever is above: an
operator signs accounts, an account signs users. A key's text is base32 with its kind in the first letter.
"""

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

UNLIMITED = -1


class Key:
    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(secrets.token_bytes(32), kind)
        self._pair = nkeys.from_seed(self.seed)
        self.public = self._pair.public_key.decode().rstrip("=")

    def token(self, subject: "Key", name: str, claims: dict[str, Any]) -> str:
        """What this key says of `subject`."""
        body = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject.public}
        number = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        parts = {"typ": "JWT", "alg": "ed25519-nkey"}, {**body, "jti": number, "nats": {**claims, "version": 2}}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encoded(self._pair.sign(signed.encode()))}"


class Operator:
    """With an account for the server itself and one that has JetStream."""

    def __init__(self) -> None:
        self._key, self._system, self._account = (
            Key(nkeys.PREFIX_BYTE_OPERATOR),
            Key(nkeys.PREFIX_BYTE_ACCOUNT),
            Key(nkeys.PREFIX_BYTE_ACCOUNT),
        )

    def configuration(self) -> str:
        """Of a server that knows both accounts from the start."""
        ours = self._key.token(self._key, "operator", {"type": "operator", "system_account": self._system.public})
        system = self._key.token(self._system, "system", _account(stored=0))
        account = self._key.token(self._account, "ion", _account(stored=UNLIMITED))
        return f"""
operator: {ours}
system_account: {self._system.public}
resolver: MEMORY
resolver_preload: {{ {self._system.public}: {system}, {self._account.public}: {account} }}
"""

    def credentials(self, file: Path) -> Path:
        """A user of the second account."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        limits = {"subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED}
        token = self._account.token(user, "dispatcher", {"type": "user", "pub": {}, "sub": {}, **limits})
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return file


def _account(stored: int) -> dict[str, Any]:
    everything = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), UNLIMITED)
    kept = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), stored)
    return {"type": "account", "limits": {**everything, "wildcards": True, **kept}}


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
