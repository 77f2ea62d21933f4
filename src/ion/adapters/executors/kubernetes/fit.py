"""What Kubernetes takes as a name and as a label's value.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

import re

SUBDOMAIN_MOST = 253
LABEL_MOST = 63

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"


def is_subdomain(name: str) -> bool:
    """Whether it is a name of most kinds of objects (RFC 1123 subdomain)."""
    return len(name) <= SUBDOMAIN_MOST and bool(re.fullmatch(_SUBDOMAIN, name))


def is_dns_label(name: str, most: int = LABEL_MOST) -> bool:
    """Whether it is a name without dots (RFC 1123 label) of at most `most` characters."""
    return len(name) <= most and bool(re.fullmatch(_LABEL, name))


def is_label_value(text: str) -> bool:
    """Whether a label may have this value."""
    return len(text) <= LABEL_MOST and bool(re.fullmatch(_VALUE, text))
