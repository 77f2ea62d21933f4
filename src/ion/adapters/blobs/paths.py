"""What a blob may be called, the same in every store.

The rules are the narrowest of the stores that Ion knows, so that what one takes all take: Azure turns backslashes into
slashes, S3 ends keys at 1,024 bytes, file systems end names at 255.
"""

from ion.errors import InvalidError

PART_BYTES = 255
PATH_BYTES = 1024


def check_path(path: str) -> str:
    """Gives `path` back if it can name a blob. Raises InvalidError, with the fault."""
    if fault := _fault(path):
        raise InvalidError(f"{path!r} cannot name a blob: {fault}")
    return path


def check_prefix(prefix: str) -> str:
    """Gives `prefix` back if it names a folder of blobs. Raises InvalidError, with the fault."""
    if not prefix.endswith("/"):
        raise InvalidError(f"{prefix!r} cannot name a folder of blobs: it does not end in a slash")
    check_path(prefix[:-1])
    return prefix


def _fault(path: str) -> str:
    if "\0" in path or "\\" in path:
        return "it has a NUL or a backslash"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if len(encoded) > PATH_BYTES:
        return f"it is longer than {PATH_BYTES} bytes"
    for part in encoded.split(b"/"):
        if part in (b"", b".", b".."):
            return "no part of a path may be empty, '.' or '..'"
        if len(part) > PART_BYTES:
            return f"a part of it is longer than {PART_BYTES} bytes"
    return ""
