"""A place for the control plane on the cluster: a namespace with rights, settings, and an `ion management start`.

Ledger and blobs are servers of this machine, so all pods are in their node's network and share its ports: dispatchers
serve no page there unless a test gives them a port.
"""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import msgspec
import pytest
import yaml
from tests.cli.programs import Folder, Program, until
from tests.cluster.attempts import SHELL, load_shell
from tests.cluster.borrowed import borrowed, borrowed_dispatcher
from tests.cluster.cluster import Cluster
from tests.stores.postgres_server import PostgresServer
from tests.stores.seaweed import Seaweed
from tests.waiting import waited

from ion.dispatcher.stores import Stores
from ion.management.events import RootEvent, raise_events
from ion.management.rpc.original_pb2 import (
    ModuleCreateRequest,
    ModuleCreateResponse,
    ModuleDeleteRequest,
    ModuleDeleteResponse,
    ModuleGetRequest,
    ModuleGetResponse,
    ModuleListRequest,
    ModuleListResponse,
)
from ion.management.rpc.remote import open_remote
from ion.management.verbs import Management
from ion.model.module import Module, Subscription

T = TypeVar("T")

START_S = 300.0
"""A pod with Python takes some seconds to start here, many of them at a time much longer."""
NOBODY = 65_532
RIGHTS = Path(__file__).parents[2] / "docs" / "kubernetes-control.md"
"""The page has what dispatchers and management may do, as documents; here they may no more."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """`here` is where commands run, by `kubeconfig` as the account of management; `settings` is the file that they and
    the ConfigMap have.
    """

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    here: Folder
    secrets: dict[str, str]
    settings: dict[str, Any]

    # ---- the cluster --------------------------------------------------------------------------------------------

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.cluster.kubectl("-n", self.namespace, *words, stdin=stdin)

    def apply(self, *documents: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def configure(self, **dispatchers: Any) -> None:
        """Writes the settings, with these of the dispatchers, here and into the ConfigMap."""
        said = {**self.settings["kubernetes"]["dispatchers"], **dispatchers}
        file = {**self.settings, "kubernetes": {**self.settings["kubernetes"], "dispatchers": said}}
        text = json.dumps(file)
        self.here.write("cluster.yaml", text)
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ion"}, "data": {"ion.yaml": text}})

    def deployments(self) -> dict[str, Any]:
        """The Deployments by name."""
        found = json.loads(self.kubectl("get", "deployments", "-o", "json"))["items"]
        return {one["metadata"]["name"]: one for one in found}

    def deployment(self, module: str) -> dict[str, Any]:
        return dict(self.deployments()[f"ion-dispatcher-{module}"])

    def replicas(self, module: str) -> int:
        return int(self.deployment(module)["spec"]["replicas"])

    def pods(self, module: str) -> list[dict[str, Any]]:
        """The pods of its dispatchers that are not on their way out."""
        which = f"app.kubernetes.io/component=dispatcher,ion.dev/module={module}"
        found = json.loads(self.kubectl("get", "pods", "-l", which, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    # ---- Ion ----------------------------------------------------------------------------------------------------

    def ion(self, *arguments: str) -> Program:
        """Starts a command that knows the cluster and the secrets."""
        environ = {"KUBECONFIG": str(self.kubeconfig), "ION_HOME": str(self.here.store), **self.secrets}
        return self.here.start(*arguments, env=environ)

    @contextmanager
    def managed(self, *words: str) -> Iterator["Api"]:
        """An `ion management start` that runs meanwhile."""
        server = self.ion("management", "start", "cluster.yaml", "--port", "0", *(words or ("--metrics-port", "off")))
        port = told(server, r"^management API: 127\.0\.0\.1:(\d+) ")
        try:
            yield Api(port)
        finally:
            server.kill()

    @contextmanager
    def front(self) -> Iterator[str]:
        """The address of an `ion gateway start` that runs meanwhile."""
        gateway = self.ion("gateway", "start", "cluster.yaml", "--port", "0")
        try:
            yield told(gateway, r"^front API: (http://127\.0\.0\.1:\d+)/$")
        finally:
            gateway.kill()


class Api:
    """The management API, as clients of today and of the original speak to it."""

    def __init__(self, port: str) -> None:
        self._address = f"127.0.0.1:{port}"

    def do(self, verb: Callable[[Management], Awaitable[T]]) -> T:
        async def work() -> T:
            async with open_remote(self._address.replace("127.0.0.1", "localhost"), timeout_s=120.0) as management:
                return await verb(management)

        return asyncio.run(work())

    def create(self, request: ModuleCreateRequest) -> str:
        return str(self._call("Create", request, ModuleCreateResponse).name)

    def get(self, name: str) -> tuple[str, str, str]:
        """Its name, status and message."""
        answer = self._call("Get", ModuleGetRequest(name=name), ModuleGetResponse)
        return answer.name, answer.status, answer.statusMessage

    def names(self) -> list[str]:
        return list(self._call("List", ModuleListRequest(), ModuleListResponse).names)

    def delete(self, name: str) -> None:
        self._call("Delete", ModuleDeleteRequest(name=name), ModuleDeleteResponse)

    def _call(self, verb: str, request: Any, kind: Any) -> Any:
        with grpc.insecure_channel(self._address) as channel:
            call = channel.unary_unary(
                f"/ModuleService/{verb}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=kind.FromString,
            )
            return call(request, timeout=120.0)


def waits(gate: Path, name: str = "hold", **keys: Any) -> Module:
    """A module of the cluster whose jobs end once there is a file `go` in the folder `gate`."""
    command = ("sh", "-c", "while [ ! -e /gate/go ]; do sleep 0.1; done")
    volume = {"name": "gate", "hostPath": {"path": str(gate)}}
    kubernetes = {"volumes": [volume], "volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
    return Module(
        name=name,
        on=(Subscription(type=f"{name}_it"),),
        image=SHELL,
        command=command,
        kubernetes=kubernetes,
        **{"provider": "kubernetes", "concurrency": 10, **keys},
    )


def raised(control: Place, event_type: str, count: int) -> None:
    """Raises so many events, as a gateway would."""

    async def work(stores: Stores) -> None:
        roots = [RootEvent(type=event_type) for _ in range(count)]
        await raise_events(roots, gateway="tests", ledger=stores.ledger, blobs=stores.blobs)

    control.here.do(work)


def told(program: Program, pattern: str) -> str:
    """What a program says, once it does."""
    until(lambda: re.search(pattern, program.out, re.MULTILINE) is not None)
    found = re.search(pattern, program.out, re.MULTILINE)
    assert found is not None
    return found[1]


def dispatcher_template(**container: Any) -> dict[str, Any]:
    """A pod template of dispatchers that run this checkout's Ion, in their node's network, as nobody in particular."""
    template = borrowed_dispatcher()
    spec = template["spec"]
    spec["containers"][0].update({"command": ["ion"], "ports": [{"$patch": "replace"}], **container})
    spec |= {"hostNetwork": True, "securityContext": {"runAsUser": NOBODY, "runAsGroup": NOBODY}}
    return template


def without_page() -> dict[str, Any]:
    """The same without the page of figures: several of them may run on one node."""
    template = dispatcher_template(readinessProbe=None, livenessProbe=None)
    template["spec"]["containers"][0]["env"].append({"name": "ION_METRICS_PORT", "value": "off"})
    return template


@pytest.fixture
def control(
    cluster: Cluster, postgres: PostgresServer, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    load_shell(cluster)
    rows, files = postgres.settings(), seaweed.role(seaweed.fresh(tmp_path.name))
    secrets = {"SECRET_OF_BLOBS": files.secret_access_key, "ION_BLOBS_SECRET_ACCESS_KEY": files.secret_access_key}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with cluster.namespace() as namespace, Folder(tmp_path) as here:
        place = Place(
            cluster=cluster,
            namespace=namespace,
            kubeconfig=tmp_path / "kubeconfig",
            here=here,
            secrets=secrets,
            settings={
                "ion": 1,
                "ledger": {
                    "kind": "postgres",
                    "port": rows.port,
                    "database": rows.database,
                    "user": rows.user,
                    "schema": rows.schema,
                },
                "blobs": {
                    "kind": "s3",
                    "url": files.url,
                    "endpoint": files.endpoint,
                    "access_key_id": files.access_key_id,
                    "secret_access_key": "${SECRET_OF_BLOBS}",
                    "role": files.role,
                    "allow_http": True,
                },
                "kubernetes": {
                    "namespace": namespace,
                    "handlerImage": SHELL,
                    "hostNetwork": True,
                    "podTemplate": borrowed(),
                    "dispatchers": {
                        "serviceAccount": "ion-dispatcher",
                        "configMap": "ion",
                        "secret": "ion-connections",
                        "podTemplate": without_page(),
                    },
                },
            },
        )
        place.apply(*rights(namespace), _secret("ion-connections", secrets), _TOKEN)
        place.configure()
        log_in(place)
        yield place


def _secret(name: str, values: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def rights(namespace: str) -> list[dict[str, Any]]:
    """The accounts, Roles and RoleBindings of the page, for this namespace."""
    page = RIGHTS.read_text()
    (block,) = re.findall(r"```yaml\n(# rights\.yaml.*?)```", page, re.DOTALL)
    documents = [*yaml.safe_load_all(block.replace("namespace: ion", f"namespace: {namespace}"))]
    assert {one["kind"] for one in documents} == {"ServiceAccount", "Role", "RoleBinding"}
    return documents


_TOKEN = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/service-account-token",
    "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "ion-management"}},
}


def log_in(place: Place) -> None:
    """Writes the kubeconfig of management's account."""
    path = "jsonpath={.data.token}"
    assert waited(lambda: bool(place.kubectl("get", "secret", "token", "-o", path)), START_S)
    token = base64.b64decode(place.kubectl("get", "secret", "token", "-o", path)).decode()
    config = yaml.safe_load(place.cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    place.kubeconfig.write_text(yaml.safe_dump(config))
