"""What the settings of an object store take and refuse, and what they keep to themselves."""

import pytest

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_client import signed
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import InvalidError, UnsupportedError


@pytest.mark.parametrize(
    ("url", "kind", "bucket", "prefix"),
    [
        ("s3://b", "s3", "b", ""),
        ("s3://b/", "s3", "b", ""),
        ("s3://b/p", "s3", "b", "p/"),
        ("gs://b.c/p/q/", "gs", "b.c", "p/q/"),
    ],
)
def test_a_url_names_a_place(url: str, kind: str, bucket: str, prefix: str) -> None:
    """The scheme is the kind of store, the host its bucket, the path what stands before every key."""
    settings = ObjectsSettings(url=url)
    assert (settings.kind, settings.bucket, settings.prefix) == (kind, bucket, prefix)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"url": "http://b"}, "names no object store"),
        ({"url": "s3:b"}, "names no object store"),
        ({"url": "s3://key:secret@b"}, "names no object store"),
        ({"url": "az://c"}, "account is missing"),
        ({"url": "az://c", "account": "a", "region": "r"}, "region means nothing"),
        ({"url": "s3://b", "account_key": "k"}, "account_key means nothing"),
        ({"url": "az://c", "account": "a", "role": "r"}, "role means nothing"),
        ({"url": "s3://b", "hierarchical": True}, "hierarchical means nothing"),
        ({"url": "s3://b", "sts_endpoint": "http://h"}, "not encrypted"),
        ({"url": "az://c", "account": "a", "account_key": "k", "sas": "s"}, "more than one way"),
        ({"url": "s3://b", "endpoint": "http://h"}, "not encrypted"),
        ({"url": "s3://b", "endpoint": "h:9000"}, "is no URL"),
        ({"url": "s3://b", "part_size": 1000}, "part_size"),
        ({"url": "s3://b", "memory": 9_000_000}, "memory"),
        ({"url": "s3://b", "timeout_s": 0.0}, "timeout"),
        ({"url": "s3://b", "at_once": 0}, "at_once"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], fault: str) -> None:
    """InvalidError with one sentence."""
    with pytest.raises(InvalidError, match=fault):
        ObjectsSettings(**given)  # type: ignore[arg-type]


async def test_half_a_key_is_refused_when_the_store_is_opened() -> None:
    """Not before: a secret may come from the environment when the rest is there already."""
    with pytest.raises(InvalidError, match="belong together"):
        async with ObjectBlobs(ObjectsSettings(url="s3://b", access_key_id="k")):
            pass


def test_secrets_are_masked() -> None:
    """`repr` shows which secrets are set, and none of them."""
    for settings in (
        ObjectsSettings(url="az://c", account="a", account_key="hidden"),
        ObjectsSettings(url="az://c", account="a", sas="hidden"),
        ObjectsSettings(url="gs://b", token="hidden"),
        ObjectsSettings(url="s3://b", access_key_id="id", secret_access_key="hidden", session_token="hidden"),
    ):
        assert "hidden" not in repr(settings)
        assert "***" in repr(settings)
        assert settings.url in repr(settings)


def test_a_uri_is_known_without_a_call() -> None:
    """On Azure it is the blob's own URL, else the one of the vendors' tools."""
    azure = ObjectsSettings(url="az://c/p", account="acme", sas="x")
    assert ObjectBlobs(azure).uri("a/b c") == "https://acme.blob.core.windows.net/c/p/a/b%20c"
    assert ObjectBlobs(ObjectsSettings(url="s3://b/p")).uri("a/b#c") == "s3://b/p/a/b%23c"
    assert ObjectBlobs(ObjectsSettings(url="gs://b")).uri("a") == "gs://b/a"


@pytest.mark.parametrize(
    ("settings", "key", "ttl_s", "kind", "fault"),
    [
        (ObjectsSettings(url="s3://b"), "a", 8 * 86400.0, InvalidError, "at most 604800 s"),
        (ObjectsSettings(url="az://c", account="a", sas="x"), "a", 60.0, UnsupportedError, "sas token"),
        (ObjectsSettings(url="az://c", account="a", token="x"), "a b", 60.0, UnsupportedError, "plain letters"),
        (ObjectsSettings(url="az://c", account="a", account_key="!"), "a", 60.0, InvalidError, "not base64"),
    ],
)
async def test_a_link_that_cannot_be_signed_is_refused(
    settings: ObjectsSettings, key: str, ttl_s: float, kind: type[Exception], fault: str
) -> None:
    """With what is missing for it."""
    with pytest.raises(kind, match=fault):
        await signed(None, settings, key, ttl_s)  # type: ignore[arg-type]
