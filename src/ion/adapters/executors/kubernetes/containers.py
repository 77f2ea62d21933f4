"""The three containers of a job's pod, and the volumes that they share.

`prepare` and `module` are init containers, so each begins when the one before it has ended well; `commit` is the main
one. The job's directory lies in an emptyDir. The module sees it at `/ion`, and nothing of what is beside it: whatever
it runs as, it cannot touch what prepare left there for commit. The Secret of the job is mounted where the handler runs.

Kubernetes replaces `$(NAME)` in variables and commands; a doubled dollar sign keeps what was written.
https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

import re
from collections.abc import Mapping
from typing import Any

from ion.adapters.executors.kubernetes.fit import is_subdomain
from ion.adapters.executors.kubernetes.settings import SecretKey
from ion.errors import InvalidError
from ion.messaging.variables import contract_variables
from ion.model.job import FailureClass
from ion.model.module import Module, Mount
from ion.ports.executor import Assignment

PREPARE, MODULE, COMMIT = "prepare", "module", "commit"
SEES = "/ion"
"""The job's directory, as the module sees it."""
WORK, DIRECTORY = "/work", "ion"
"""Where the handler has the shared volume, and the job's directory in it."""
FILES = "/run/ion"
"""Where the handler finds the assignment and what opens the blobs."""
TERMINATION_LOG = "/dev/termination-log"
ION, HANDLER, SCRATCH, SHM = "ion", "handler", "scratch", "shm"
"""The names of the volumes."""
PVC = "pvc:"

HANDLER_UID = 64199
"""Who prepares: nobody of any image, so that no module owns what is left for commit."""
_HANDLER_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
_SCRATCH_SIZE = "1Gi"
_SECRET_MODE = 0o444
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def handler_container(role: str, image: str) -> dict[str, Any]:
    """`prepare` or `commit`."""
    directories = {ION: WORK, SCRATCH: "/tmp"}  # noqa: S108 - the container's own
    return {
        "name": role,
        "image": image,
        **_pull_policy(image),
        "command": ["ion", "handler", role],
        "env": [
            _variable("ION_BASE_DIR", f"{WORK}/{DIRECTORY}"),
            _variable("ION_SEEN_AS", SEES),
            _variable("ION_HANDLER_FILES", FILES),
            _variable("ION_TERMINATION_LOG", TERMINATION_LOG),
            {"name": "ION_HOST", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": _HANDLER_RESOURCES,
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in directories.items()),
            {"name": HANDLER, "mountPath": FILES, "readOnly": True},
        ],
        "terminationMessagePath": TERMINATION_LOG,
        "securityContext": _security(role),
    }


def _security(role: str) -> dict[str, Any]:
    """Prepare is a user of its own. Commit is root less every right but to read what the module wrote, whosever it is
    and whatever its mode.
    """
    if role == PREPARE:
        user = {"runAsUser": HANDLER_UID, "runAsGroup": HANDLER_UID, "runAsNonRoot": True}
        return {**_CONFINED, **user, "capabilities": {"drop": ["ALL"]}}
    reads = {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}
    return {**_CONFINED, "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, "capabilities": reads}


def module_container(assignment: Assignment, secrets: Mapping[str, SecretKey]) -> dict[str, Any]:
    """The user's image. A command replaces its entrypoint and its arguments. Raises InvalidError for a bad secret."""
    module, image = assignment.revision.module, assignment.revision.pinned_image
    command = {"command": [_literal(word) for word in module.command]} if module.command else {}
    return {
        "name": MODULE,
        "image": image,
        **_pull_policy(image),
        **command,
        "env": _environment(assignment, secrets),
        "resources": module_resources(assignment),
        "volumeMounts": [
            {"name": ION, "mountPath": SEES, "subPath": DIRECTORY},
            {"name": ION, "mountPath": f"{SEES}/in/data", "subPath": f"{DIRECTORY}/in/data", "readOnly": True},
            *([{"name": SHM, "mountPath": "/dev/shm"}] if module.resources.shm else []),  # noqa: S108
            *({"name": name, "mountPath": mount.path, "readOnly": True} for name, mount in _mounts(module)),
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"}},
    }


def _environment(assignment: Assignment, secrets: Mapping[str, SecretKey]) -> list[dict[str, Any]]:
    """The module's variables, its secrets by reference, and the contract's, each over those before."""
    module = assignment.revision.module
    contract = contract_variables(assignment, SEES)
    referred = {
        variable: _secret(module, name, secrets)
        for variable, name in module.secrets.items()
        if variable not in contract
    }
    literals = {name: value for name, value in module.env.items() if name not in referred} | dict(contract)
    return [
        *({"name": variable, "valueFrom": {"secretKeyRef": reference}} for variable, reference in referred.items()),
        *(_variable(name, value) for name, value in literals.items()),
    ]


def _secret(module: Module, name: str, secrets: Mapping[str, SecretKey]) -> dict[str, str]:
    """Where a secret is: as the settings say, else the key `value` of the Secret of its name."""
    where = secrets.get(name) or SecretKey(secret=name)
    if not is_subdomain(where.secret) or not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", where.key):
        raise InvalidError(
            f"module {module.name} needs the secret {name!r}, which cannot be key {where.key!r} of a Secret "
            f"{where.secret!r} in Kubernetes: write where it is, `secrets: {{{name}: {{secret: NAME, key: KEY}}}}`"
        )
    return {"name": where.secret, "key": where.key}


def module_resources(assignment: Assignment) -> dict[str, Any]:
    """What the module gets, guaranteed and at most. An attempt after one that ran out of memory gets more of it, if the
    module says so.
    """
    wanted, retries = assignment.revision.module.resources, assignment.revision.module.retries
    factor = retries.memory_factor ** assignment.job.failures.get(FailureClass.MEMORY, 0)
    amounts = {
        "cpu": f"{max(1, round(wanted.cpu * 1000))}m" if wanted.cpu else "",
        "memory": str(int(wanted.memory * factor)) if wanted.memory else "",
        "ephemeral-storage": str(wanted.disk) if wanted.disk else "",
        "nvidia.com/gpu": str(wanted.gpu) if wanted.gpu else "",
    }
    declared = {name: amount for name, amount in amounts.items() if amount}
    return {"requests": declared, "limits": dict(declared)} if declared else {}


def volumes(module: Module, secret: str) -> list[dict[str, Any]]:
    """The pod's volumes; `secret` is the name of the job's own Secret."""
    wanted = module.resources
    shm = {"medium": "Memory", "sizeLimit": str(wanted.shm)}
    return [
        {"name": ION, "emptyDir": {"sizeLimit": str(wanted.disk)} if wanted.disk else {}},
        {"name": HANDLER, "secret": {"secretName": secret, "defaultMode": _SECRET_MODE}},
        {"name": SCRATCH, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
        *([{"name": SHM, "emptyDir": shm}] if wanted.shm else []),
        *({"name": name, **_source(mount)} for name, mount in dict(_mounts(module)).items()),
    ]


def _mounts(module: Module) -> list[tuple[str, Mount]]:
    """The module's mounts with the names of their volumes: one volume for each source."""
    names: dict[str, str] = {}
    return [(names.setdefault(mount.source, f"mount-{len(names)}"), mount) for mount in module.mounts]


def _source(mount: Mount) -> dict[str, Any]:
    if mount.source.startswith(PVC):
        return {"persistentVolumeClaim": {"claimName": mount.source.removeprefix(PVC), "readOnly": True}}
    return {"hostPath": {"path": mount.source, "type": "Directory"}}


def _pull_policy(image: str) -> dict[str, str]:
    """An image by digest is pulled where it is not yet; for any other Kubernetes goes by its tag."""
    return {"imagePullPolicy": "IfNotPresent"} if "@" in image else {}


def _variable(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": _literal(value)}


def _literal(text: str) -> str:
    return text.replace("$", "$$")
