"""What an object store can grant, and what it says where it cannot."""

import uuid
from pathlib import Path

import msgspec
import obstore
import pytest
from tests.stores.azurite import KEY
from tests.stores.grants import BELOW, client, narrowing, place, refused, ring
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.seaweed import Seaweed
from tests.stores.server import ObjectServer

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_narrow import NarrowBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.blobs.objects_sts import POLICY_MOST, policies
from ion.errors import InvalidError, UnavailableError, UnsupportedError


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (ObjectsSettings(url="az://c", account="a", sas="x"), "open it with the account_key"),
        (ObjectsSettings(url="az://c", account="a"), "open it with the account_key"),
        (ObjectsSettings(url="s3://b", access_key_id="k", secret_access_key="s"), "set role"),
        (ObjectsSettings(url="s3://b", role="arn:aws:iam::1:role/r"), "write access_key_id"),
        (ObjectsSettings(url="gs://b", token="x"), "nothing of this kind"),
    ],
)
async def test_what_cannot_be_narrowed_says_what_would_help(settings: ObjectsSettings, fault: str) -> None:
    """UnsupportedError, and guarantees that say so beforehand."""
    blobs = ObjectBlobs(settings)
    assert narrowing(blobs) == (False, False)
    with pytest.raises(UnsupportedError, match=fault):
        await blobs.narrowed([], BELOW, 60)


async def test_files_of_this_host_have_nothing_to_narrow(tmp_path: Path) -> None:
    """The embedded store says so."""
    blobs = FilesystemBlobs(tmp_path)
    assert narrowing(blobs) == (False, False)
    with pytest.raises(UnsupportedError, match="files of this host"):
        await blobs.narrowed([], BELOW, 60)


async def test_paths_are_checked() -> None:
    """What names no blob or no folder is not granted."""
    blobs = ObjectBlobs(ObjectsSettings(url="az://c", account="a", account_key=KEY))
    for reads, below in ((["../a"], BELOW), ([".ion~x"], BELOW), ([], "job/1"), ([], "/")):
        with pytest.raises(InvalidError):
            await blobs.narrowed(reads, below, 60)


async def test_a_role_that_cannot_be_assumed_is_said(seaweed: Seaweed) -> None:
    """With the store's word for it; so is a time that no role is given for, and a server that is no issuer."""
    settings = place(seaweed)
    none = msgspec.structs.replace(settings, role="arn:aws:iam::000000000000:role/none")
    with pytest.raises(UnavailableError, match=r"role/none .*403 AccessDenied.*check the role"):
        await ObjectBlobs(none).narrowed([], BELOW, 60)
    with pytest.raises(InvalidError, match="43200 s at most"):
        await ObjectBlobs(settings).narrowed([], BELOW, 50_000)
    nobody = msgspec.structs.replace(settings, sts_endpoint="http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
        await ObjectBlobs(nobody).narrowed([], BELOW, 60)


async def test_an_issuer_whose_answer_breaks_off_is_away(seaweed: Seaweed) -> None:
    """Cut in its midst: another try may get a whole one."""
    settings = place(seaweed)
    async with HttpProxy(seaweed.port) as proxy:
        through = msgspec.structs.replace(settings, sts_endpoint=f"http://127.0.0.1:{proxy.port}")
        proxy.always(Fate.CUT, "POST")
        with pytest.raises(UnavailableError, match=r"does not answer .*retry"):
            await ObjectBlobs(through).narrowed([], BELOW, 60)


async def test_many_inputs_of_many_jobs_are_granted(server: ObjectServer) -> None:
    """However many there are, and whatever they are called."""
    names = ("with blank", "日本語.png", "100% #1?.jpg", "a$b", "*", "${aws:username}")
    reads = [f"{uuid.uuid4()}/1/{uuid.uuid4().hex}/data/{name}" for _ in range(8) for name in names]
    async with ObjectBlobs(place(server)) as blobs:
        for path in reads:
            await blobs.put_bytes(path, path.encode())
        await blobs.put_bytes("other/1/x/data/secret", b"")
        grant = await blobs.narrowed(reads, BELOW, 600)
        async with NarrowBlobs(grant) as narrow:
            for path in reads:
                assert await narrow.get_bytes(path) == path.encode()
            await narrow.put_bytes("job/1/x/a", b"")
        prefix = ring(grant).settings.prefix
        for key in ring(grant).keys:
            thief = client(grant, key.credential)
            refused(obstore.get, thief, f"{prefix}other/1/x/data/secret")


def test_policies_fit_and_name_no_more_than_they_must() -> None:
    """Few inputs are named one by one; of many the folders of their executions, in as many sessions as it takes."""
    settings = ObjectsSettings(url="s3://b/p", role="arn:aws-cn:iam::1:role/r")
    ((text, reads),) = policies(settings, ["r/1/x/data/a", "r/1/x/data/b"], BELOW)
    assert reads == ["r/1/x/data/a", "r/1/x/data/b"]
    document = msgspec.json.decode(text)
    assert [statement["Resource"] for statement in document["Statement"]] == [
        ["arn:aws-cn:s3:::b/p/job/1/*"],
        ["arn:aws-cn:s3:::b/p/r/1/x/data/a", "arn:aws-cn:s3:::b/p/r/1/x/data/b"],
    ]
    many = [f"{job:036}/1/x/data/{number}" for job in range(50) for number in range(4)]
    plans = policies(settings, many, BELOW)
    assert len(plans) > 1
    assert all(len(text) <= POLICY_MOST for text, _ in plans)
    assert sorted(path for _, reads in plans for path in reads) == sorted(many)
    for number, (text, reads) in enumerate(plans):
        statements = msgspec.json.decode(text)["Statement"]
        assert ("s3:PutObject" in statements[0]["Action"]) == (number == 0)
        folders = {f"arn:aws-cn:s3:::b/p/{path.rpartition('/data/')[0]}/*" for path in reads}
        assert set(statements[-1]["Resource"]) == folders
    (alone,) = policies(settings, [], BELOW)
    assert alone[1] == []
