"""Shared access signatures: who may do what. The policy `root` may manage, `worker` may only send and listen."""

import base64
import hashlib
import hmac
import time
from urllib.parse import parse_qs, unquote

KEYS = {"root": "cm9vdC1rZXk=", "worker": "d29ya2VyLWtleQ=="}


def policy_of(token: str) -> str:
    """The policy that signed this token; "" if none did, or it has expired."""
    scheme, _, rest = token.partition(" ")
    fields = {name: values[0] for name, values in parse_qs(rest).items()}
    policy = fields.get("skn", "")
    if scheme != "SharedAccessSignature" or policy not in KEYS or float(fields.get("se", 0)) < time.time():
        return ""
    raw = dict(pair.split("=", 1) for pair in rest.split("&"))
    digest = hmac.new(KEYS[policy].encode(), f"{raw['sr']}\n{raw['se']}".encode(), hashlib.sha256).digest()
    return policy if base64.b64encode(digest).decode() == unquote(raw["sig"]) else ""
