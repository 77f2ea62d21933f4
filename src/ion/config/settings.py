"""What stands in a pipeline file beside the modules: where Ion keeps things, listens, and stops.

Each section is a frozen struct and, below it, the table of its keys.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.kubernetes.settings import KubernetesSettings, SecretKey
from ion.config.backends import Backend
from ion.config.batches import AZUREBATCH
from ion.config.buses import BUS
from ion.config.clusters import KUBERNETES, SECRET_KEYS
from ion.config.kinds import FILLED, Age, Choice, Cpu, Duration, Flag, Located, Location, Port, Size, Text, Whole
from ion.config.stores import BLOB, DOCUMENT, LEDGER
from ion.config.tables import Field, Many, Named, Section, Short
from ion.errors import InvalidError
from ion.model.retention import Retention
from ion.model.role import Grant, Role


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The front API.

    `tokens`: any of them, as a Bearer token, lets a request in. `open`: no token is asked for, on every interface.
    `host`: the address to bind; empty chooses by the two. `max_body` bounds a request, `max_json` a JSON document or
    all the form fields of a request, both in bytes; `max_files` the files of one event. `stall_s` is how many seconds a
    client may send nothing in the middle of a request. With `backlog_most` open jobs in the ledger, new events are held
    back (429). Tokens are masked in `repr`.
    """

    host: str = ""
    port: int = 9001
    tokens: tuple[str, ...] = ()
    open: bool = False
    max_body: int = 1024**3
    max_json: int = 1024**2
    max_files: int = 10_000
    stall_s: float = 60.0
    backlog_most: int = 100_000

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__} | {"tokens": ("***",) * len(self.tokens)}
        return f"Front({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


FRONT = Section(
    name="front",
    doc="The front API: root events by HTTP.",
    struct=Front,
    build=Front,
    fields={
        "host": Field(kind=FILLED, doc="The address to bind; loopback unless tokens or open are set."),
        "port": Field(kind=Whole(most=65_535), doc="The port to listen on; 0 takes a free one."),
        "tokens": Field(kind=Many(item=FILLED), doc="Bearer tokens, one of which every request must carry."),
        "open": Field(kind=Flag(), doc="Whether anybody may raise events, without a token."),
        "max_body": Field(kind=Size(), doc="The largest request, in bytes."),
        "max_json": Field(kind=Size(), doc="The largest JSON document, in bytes."),
        "max_files": Field(kind=Whole(least=1), doc="How many files one event may carry."),
        "stall": Field(kind=Duration(), doc="How long a client may send nothing within a request.", into="stall_s"),
        "backlog_most": Field(kind=Whole(least=1), doc="Open jobs above which new root events are held back (429)."),
    },
)


RETENTION = Section(
    name="retention",
    doc="How long things are kept after their whole flow ended: a duration, or never.",
    struct=Retention,
    build=Retention,
    fields={
        "intermediates": Field(
            kind=Age(), doc="Files of jobs whose events started further jobs.", into="intermediates_s"
        ),
        "results": Field(kind=Age(), doc="Files of the other jobs, and the records of all.", into="results_s"),
        "failed": Field(kind=Age(), doc="Dead and cancelled jobs, with what they were to work on.", into="failed_s"),
        "logs": Field(kind=Age(), doc="Logs of all jobs, and their records.", into="logs_s"),
        "ids": Field(
            kind=Age(),
            doc="Ids of jobs of which all else has expired, so that a late delivery is still known; longer than any bus"
            " keeps a message.",
            into="ids_s",
        ),
    },
)


def _path(place: Location | None) -> str:
    return place.path if place else ""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The management API.

    `certificate`, `key`, `ca` and `revoked` are absolute paths of PEM files. Without the first three it is served on
    loopback only, without TLS. `host`: the address to bind; empty chooses by these. An empty `revoked` is a file
    `revoked.pem` beside the CA's, if there is one. Without `roles`, certificates say theirs, or are an admin's. The
    page for Prometheus is on `host` if it is set, else on loopback, or in a pod on every address. A port of None: not
    served.
    """

    host: str = ""
    port: int | None = 9000
    certificate: str = ""
    key: str = ""
    ca: str = ""
    revoked: str = ""
    roles: tuple[Grant, ...] = ()
    metrics_port: int | None = 9464


def _served(
    *,
    certificate: Location | None = None,
    key: Location | None = None,
    ca: Location | None = None,
    revoked: Location | None = None,
    **values: Any,
) -> Served:
    return Served(certificate=_path(certificate), key=_path(key), ca=_path(ca), revoked=_path(revoked), **values)


def _grant(*, role: str, **values: Any) -> Grant:
    return Grant(role=Role(role), **values)


ROLE = Section(
    name="role",
    doc="A role for the certificates whose subject fits.",
    build=_grant,
    required=("subject", "role"),
    fields={
        "subject": Field(kind=FILLED, doc="Attributes that the subject must have: CN=alice,O=acme; * is any text."),
        "role": Field(
            kind=Choice(words=tuple(role.value for role in Role)),
            doc="viewer reads, operator also retries, cancels, pauses and raises events, admin may do everything.",
        ),
        "pipelines": Field(kind=Many(item=FILLED, single=True), doc="Names of pipelines, if it is for these only."),
    },
)

MANAGEMENT = Section(
    name="management",
    doc="The management API: what commands and clients elsewhere speak to; needs ion-events[management].",
    struct=Served,
    build=_served,
    fields={
        "host": Field(kind=FILLED, doc="The address to bind; loopback unless there are a certificate, a key and a CA."),
        "port": Field(kind=Port(), doc="The port to listen on; 0 takes a free one, off: `ion up` does without it."),
        "certificate": Field(kind=Located(), doc="A PEM file with the server's certificate, and those above it."),
        "key": Field(kind=Located(), doc="A PEM file with its key."),
        "ca": Field(kind=Located(), doc="A PEM file of the authorities whose clients are let in."),
        "revoked": Field(kind=Located(), doc="A PEM file of revocation lists; else revoked.pem beside the CA's."),
        "roles": Field(kind=Many(item=ROLE), doc="Who may do what; else certificates say it, or are an admin's."),
        "metrics_port": Field(kind=Port(), doc="The port of GET /metrics, for Prometheus; 0 takes a free one, or off."),
    },
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine is to offer to local modules, where that is not all it has. Zero and None: what is found."""

    cpu: float = 0.0
    memory: int = 0
    gpus: tuple[str, ...] | None = None


MACHINE = Section(
    name="machine",
    doc="What this machine offers to local modules, where that is not all it has.",
    build=Machine,
    fields={
        "cpu": Field(kind=Cpu(), doc="Processor cores."),
        "memory": Field(kind=Size(), doc="Bytes of memory."),
        "gpus": Field(
            kind=Short(
                short=Whole(most=1024),
                widen=lambda count: tuple(str(n) for n in range(count)),
                full=Many(item=FILLED),
            ),
            doc="How many gpu devices, or a list of their names as in CUDA_VISIBLE_DEVICES.",
        ),
    },
)


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond these a flow's jobs are held for a person to look at: hops since the root, and jobs in all."""

    max_hops: int = 32
    max_jobs: int = 1_000_000


GUARDS = Section(
    name="guards",
    doc="Bounds of one flow, beyond which its jobs are held.",
    struct=Guards,
    build=Guards,
    fields={
        "max_hops": Field(kind=Whole(least=1, most=10_000), doc="Jobs from the root event to the last one."),
        "max_jobs": Field(kind=Whole(least=1), doc="Jobs of one flow in all."),
    },
)


class MountSource(msgspec.Struct, frozen=True, kw_only=True):
    """What a mount's name stands for: a folder of the host (absolute), or a Kubernetes persistent volume claim."""

    folder: str = ""
    pvc: str = ""


def _mount_source(*, folder: Location | None = None, pvc: str = "") -> MountSource:
    if (folder is None) == (not pvc):
        raise InvalidError("a mount is either a folder or a pvc; write one of the two")
    return MountSource(folder=folder.path if folder else "", pvc=pvc)


MOUNTS = Named(
    value=Short(
        short=Located(),
        widen=lambda folder: MountSource(folder=folder.path),
        full=Section(
            name="mount_source",
            doc="What a mount's name stands for.",
            build=_mount_source,
            fields={
                "folder": Field(kind=Located(), doc="A folder of the host."),
                "pvc": Field(kind=FILLED, doc="A persistent volume claim, for modules on Kubernetes."),
            },
        ),
    )
)


class SecretSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a secret's value is found when a job starts.

    For a job of this host in a variable of this process, or in a file (absolute). For one on Kubernetes in a `key` of
    the Secret named `secret`: the two are empty where nothing is said.
    """

    env: str = ""
    file: str = ""
    secret: str = ""
    key: str = ""


def _secret_source(*, env: str = "", file: Location | None = None, secret: str = "", key: str = "") -> SecretSource:
    if file is not None and env:
        raise InvalidError("a secret comes from env or from file; write one of the two")
    if file is None and not env and not secret:
        raise InvalidError("a secret comes from env or from file, on Kubernetes from a secret; write one of them")
    if key and not secret:
        raise InvalidError("a key is that of a secret; write which secret")
    return SecretSource(env=env, file=file.path if file else "", secret=secret, key=key)


VARIABLE_NAME = Text(pattern=r"[-._a-zA-Z][-._a-zA-Z0-9]*", wants="the name of an environment variable")

SECRETS = Named(
    value=Section(
        name="secret_source",
        doc="Where a secret's value is found; the value itself never stands in a pipeline file.",
        build=_secret_source,
        fields={
            "env": Field(kind=VARIABLE_NAME, doc="A variable in Ion's own environment."),
            "file": Field(kind=Located(), doc="A file whose text is the secret."),
            **SECRET_KEYS,
        },
    )
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything beside the modules, with Ion's own defaults.

    `endpoint` is the Ion that commands go to, `HOST:PORT`, empty for none. `synchronous` is "normal" (a commit survives
    the death of every process) or "full" (and a power cut; slower). `mounts` and `secrets` are by name. `documents` are
    with the ledger if nothing else is said, and so is the `bus`.
    """

    endpoint: str = ""
    ledger: Backend = Backend(kind="sqlite")
    documents: Backend | None = None
    bus: Backend | None = None
    blobs: Backend = Backend(kind="filesystem")
    synchronous: str = "normal"
    front: Front = Front()
    management: Served = Served()
    retention: Retention = Retention()
    machine: Machine = Machine()
    guards: Guards = Guards()
    mounts: dict[str, MountSource] = {}
    secrets: dict[str, SecretSource] = {}
    kubernetes: KubernetesSettings = KubernetesSettings()
    azurebatch: BatchSettings = BatchSettings()

    @property
    def cluster(self) -> KubernetesSettings:
        """The settings of the Kubernetes executor, with where the secrets are there."""
        said = {name: source for name, source in self.secrets.items() if source.secret}
        keys = {
            name: SecretKey(secret=source.secret, key=source.key or SecretKey.VALUE) for name, source in said.items()
        }
        return msgspec.structs.replace(self.kubernetes, secrets=keys)


SETTINGS: Mapping[str, Field] = {
    "endpoint": Field(
        kind=Text(pattern=r"[^\s/]+:[0-9]{1,5}", wants="HOST:PORT"), doc="The Ion that commands go to: ion.acme:9000."
    ),
    "bus": Field(kind=BUS, doc="What carries events between hosts; else it is the ledger alone."),
    "ledger": Field(kind=LEDGER, doc="The system of record."),
    "documents": Field(kind=DOCUMENT, doc="The records of flows; else they are with the ledger."),
    "blobs": Field(kind=BLOB, doc="Where files are kept."),
    "synchronous": Field(
        kind=Choice(words=("normal", "full")),
        doc="What a commit to SQLite survives: the death of every process, or (full, slower) a power cut as well.",
    ),
    "front": Field(kind=FRONT, doc="The front API."),
    "management": Field(kind=MANAGEMENT, doc="The management API."),
    "retention": Field(kind=RETENTION, doc="How long things are kept."),
    "machine": Field(kind=MACHINE, doc="What this machine offers."),
    "guards": Field(kind=GUARDS, doc="Bounds of one flow."),
    "mounts": Field(kind=MOUNTS, doc="What the names of mounts stand for: a folder, or {pvc: NAME}."),
    "secrets": Field(kind=SECRETS, doc="Where secrets are found, by name: {env: VARIABLE} or {file: PATH}."),
    "kubernetes": Field(kind=KUBERNETES, doc="The cluster where modules run whose provider is kubernetes."),
    "azurebatch": Field(kind=AZUREBATCH, doc="The account where modules run whose provider is azurebatch."),
}
