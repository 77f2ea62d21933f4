"""The Job that an attempt is on Kubernetes."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ion.adapters.executors.kubernetes.pod import check_module, deadline_s, job_body
from ion.adapters.executors.kubernetes.settings import HANDLER_IMAGE, KubernetesSettings, SecretKey
from ion.errors import InvalidError
from ion.model.event import Event, utc_now
from ion.model.job import FailureClass, Job
from ion.model.module import Module, Mount, Resources, Retries, revise
from ion.ports.executor import Assignment

ID = "6c84fb90-12c4-51e0-a7a5-5d9ca9b0f2f6"
NAME = f"ion-{ID}-2"
Document = dict[str, Any]


def assignment(*, failures: Mapping[FailureClass, int] | None = None, digest: str = "", **module: Any) -> Assignment:
    event = Event(id="e-1", type="photo", source="s", correlation_id="flow-1", parent_id="front", time=utc_now())
    job = Job(id=ID, module="detect", attempt=2, event=event, failures=dict(failures or {}))
    made = Module(**{"name": "detect", "image": "acme/detect:1", "provider": "kubernetes", **module})
    return Assignment(job=job, revision=revise(made, digest))


def body(*, settings: KubernetesSettings | None = None, **module: Any) -> Document:
    return job_body(assignment(**module), settings or KubernetesSettings())


def pod(*, settings: KubernetesSettings | None = None, **module: Any) -> Document:
    made: Document = body(settings=settings, **module)["spec"]["template"]["spec"]
    return made


def container(name: str, **given: Any) -> Document:
    made = pod(**given)
    found: Document = next(one for one in [*made["initContainers"], *made["containers"]] if one["name"] == name)
    return found


def variables(name: str, **given: Any) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(name, **given)["env"]}


def test_a_job_is_tried_once_and_belongs_to_its_module() -> None:
    """Its name is the attempt's; the ConfigMap of the module owns it; it is kept for a day at most."""
    made = job_body(assignment(pipeline="media"), KubernetesSettings(), namespace="jobs", owner_uid="u-1")
    assert (made["apiVersion"], made["kind"]) == ("batch/v1", "Job")
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == (NAME, "jobs")
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "ion-module-media.detect", "uid": "u-1"}
    ]
    spec = made["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 86_400)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_time_limit_is_the_pods_and_covers_all_that_happens_in_it() -> None:
    """A limit of the Job would delete the pod with its log."""
    module: dict[str, Any] = {"timeout_s": 100.0, "start_timeout_s": 30.0, "grace_s": 4.5}
    made = body(**module)
    assert "activeDeadlineSeconds" not in made["spec"]
    settings = KubernetesSettings()
    expected = deadline_s(assignment(**module).revision.module, settings)
    assert made["spec"]["template"]["spec"]["activeDeadlineSeconds"] == expected == 735
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 5


def test_nothing_of_it_is_newer_than_the_oldest_server() -> None:
    """A server of version 1.20 would drop a field that it does not know without a word."""
    made = msgspec.json.encode(body(resources=Resources(cpu=1, shm=1), network=False)).decode()
    assert not [field for field in ("podFailurePolicy", "suspend", "podReplacementPolicy", "sleep") if field in made]


def test_prepare_and_module_come_before_commit() -> None:
    """Each in a container of its own, so that the next begins only when it ended well."""
    made = pod()
    assert [one["name"] for one in made["initContainers"]] == ["prepare", "module"]
    assert [one["name"] for one in made["containers"]] == ["commit"]
    assert container("prepare")["command"] == ["ion", "handler", "prepare"]
    assert container("commit")["command"] == ["ion", "handler", "commit"]


def test_the_secret_of_the_job_is_for_the_handler_only() -> None:
    """The module's container mounts nothing but its directory, which is a part of what the handler has."""
    made = pod()
    secret = next(volume for volume in made["volumes"] if volume["name"] == "handler")
    assert secret["secret"]["secretName"] == NAME
    for name in ("prepare", "commit"):
        mounts = {mount["mountPath"]: mount for mount in container(name)["volumeMounts"]}
        assert mounts["/run/ion"] == {"name": "handler", "mountPath": "/run/ion", "readOnly": True}
        assert mounts["/work"]["name"] == "ion"
    assert container("module")["volumeMounts"] == [
        {"name": "ion", "mountPath": "/ion", "subPath": "ion"},
        {"name": "ion", "mountPath": "/ion/in/data", "subPath": "ion/in/data", "readOnly": True},
    ]


def test_the_handler_has_next_to_no_rights() -> None:
    """Prepare none at all; commit that of reading what the module wrote, whosever it is."""
    for name, rights in (("prepare", {"drop": ["ALL"]}), ("commit", {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]})):
        context = container(name)["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["capabilities"] == rights
    assert container("prepare")["securityContext"]["runAsNonRoot"]
    assert not pod()["automountServiceAccountToken"]
    assert not pod()["enableServiceLinks"]


def test_the_handler_is_told_where_everything_is() -> None:
    """And on which node it runs."""
    for name in ("prepare", "commit"):
        assert variables(name) == {
            "ION_BASE_DIR": "/work/ion",
            "ION_SEEN_AS": "/ion",
            "ION_HANDLER_FILES": "/run/ion",
            "ION_TERMINATION_LOG": "/dev/termination-log",
            "ION_HOST": {"fieldRef": {"fieldPath": "spec.nodeName"}},
        }


def test_the_module_has_the_contracts_variables_and_its_own() -> None:
    """The contract's win; a secret wins over a variable of the same name."""
    found = variables("module", env={"A": "1", "ION_DIR": "/elsewhere", "KEY": "x"}, secrets={"KEY": "vision-key"})
    assert (found["A"], found["ION_DIR"], found["HANDLER_BASE_DIR"]) == ("1", "/ion", "/ion")
    assert (found["ION_ATTEMPT"], found["ION_CORRELATION_ID"], found["ION_EVENT_ID"]) == ("2", "flow-1", "e-1")
    assert found["KEY"] == {"secretKeyRef": {"name": "vision-key", "key": "value"}}
    names = [one["name"] for one in container("module", env={"ION_DIR": "x", "KEY": "y"}, secrets={"KEY": "k"})["env"]]
    assert len(names) == len(set(names))


def test_what_looks_like_a_variable_of_kubernetes_stays_as_it_was_written() -> None:
    """Kubernetes would replace $(NAME), and take one dollar of two."""
    written = "$(HOME) $HOME $$ $"
    assert variables("module", env={"A": written})["A"].replace("$$", "$") == written
    assert container("module", command=("sh", "-c", "echo $(date)"))["command"] == ["sh", "-c", "echo $$(date)"]


def test_a_command_replaces_the_entrypoint() -> None:
    """Without one the image's own runs."""
    assert container("module", command=("python", "x.py"))["command"] == ["python", "x.py"]
    assert "command" not in container("module")
    assert "args" not in container("module", command=("python", "x.py"))


def test_a_known_digest_is_what_runs() -> None:
    """It is pulled where it is not yet; an image by tag is left to what Kubernetes does with tags."""
    digest = f"sha256:{'a' * 64}"
    ours = job_body(assignment(digest=digest), KubernetesSettings())["spec"]["template"]["spec"]["initContainers"][1]
    assert (ours["image"], ours["imagePullPolicy"]) == (f"acme/detect@{digest}", "IfNotPresent")
    assert container("module")["image"] == "acme/detect:1"
    assert "imagePullPolicy" not in container("module")


def test_the_nearest_handler_image_counts() -> None:
    """The module's, else the setting's, else that of this version."""
    settings = KubernetesSettings(handler_image="acme/ion:2")
    assert container("commit")["image"] == HANDLER_IMAGE
    assert container("commit", settings=settings)["image"] == "acme/ion:2"
    own = {"handlerImage": "acme/ion:3"}
    assert container("prepare", settings=settings, kubernetes=own)["image"] == "acme/ion:3"


def test_resources_are_asked_for_and_are_the_limit() -> None:
    """Of the module; shared memory and the directory are volumes of that size."""
    wanted = Resources(cpu=0.5, memory=2**30, gpu=1, disk=5 * 2**30, shm=2**20)
    amounts = {
        "cpu": "500m",
        "memory": "1073741824",
        "ephemeral-storage": "5368709120",
        "nvidia.com/gpu": "1",
    }
    made = container("module", resources=wanted)
    assert made["resources"] == {"requests": amounts, "limits": amounts}
    volumes = {volume["name"]: volume for volume in pod(resources=wanted)["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1048576"}
    assert volumes["ion"]["emptyDir"] == {"sizeLimit": "5368709120"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in made["volumeMounts"]
    assert container("module")["resources"] == {}


def test_an_attempt_after_one_that_ran_out_of_memory_gets_more() -> None:
    """So much as the module says, each time anew."""
    module: dict[str, Any] = {"resources": Resources(memory=1000), "retries": Retries(memory_factor=1.5)}
    for failed, expected in ((0, "1000"), (1, "1500"), (2, "2250")):
        made = job_body(assignment(failures={FailureClass.MEMORY: failed}, **module), KubernetesSettings())
        ours = made["spec"]["template"]["spec"]["initContainers"][1]
        assert ours["resources"]["limits"] == ours["resources"]["requests"] == {"memory": expected}


def test_mounts_are_claims_or_folders_of_the_node_and_read_only() -> None:
    """One volume for each source, however often it is mounted."""
    mounts = (Mount(source="pvc:m", path="/a"), Mount(source="/srv/x", path="/b"), Mount(source="pvc:m", path="/c"))
    assert pod(mounts=mounts)["volumes"][-2:] == [
        {"name": "mount-0", "persistentVolumeClaim": {"claimName": "m", "readOnly": True}},
        {"name": "mount-1", "hostPath": {"path": "/srv/x", "type": "Directory"}},
    ]
    assert container("module", mounts=mounts)["volumeMounts"][-3:] == [
        {"name": "mount-0", "mountPath": "/a", "readOnly": True},
        {"name": "mount-1", "mountPath": "/b", "readOnly": True},
        {"name": "mount-0", "mountPath": "/c", "readOnly": True},
    ]


def test_a_module_without_network_is_marked_for_a_policy() -> None:
    """A pod cannot do without by itself."""
    made = body(network=False)["spec"]["template"]["metadata"]["labels"]
    assert made["ion.dev/network"] == "none"
    assert "ion.dev/network" not in body()["spec"]["template"]["metadata"]["labels"]


def test_a_secret_is_where_the_settings_say() -> None:
    """Else it is the key `value` of the Secret of its name."""
    settings = KubernetesSettings(secrets={"vision-key": SecretKey(secret="vision", key="api")})
    given: dict[str, Any] = {"settings": settings, "secrets": {"A": "vision-key", "B": "other"}}
    assert variables("module", **given)["A"] == {"secretKeyRef": {"name": "vision", "key": "api"}}
    assert variables("module", **given)["B"] == {"secretKeyRef": {"name": "other", "key": "value"}}


def test_a_secret_that_no_secret_of_the_cluster_can_be_is_refused() -> None:
    """With what to write instead."""
    with pytest.raises(InvalidError, match=r"write where it is, `secrets: \{VISION_KEY: \{secret: NAME, key: KEY\}\}`"):
        body(secrets={"A": "VISION_KEY"})


def test_settings_reach_every_pod() -> None:
    """The account, the pull secrets, the node's network."""
    settings = KubernetesSettings(service_account="jobs", image_pull_secrets=("a", "b"), host_network=True)
    made = pod(settings=settings, kubernetes={"imagePullSecrets": ["c", "a"]})
    assert (made["serviceAccountName"], made["hostNetwork"]) == ("jobs", True)
    assert made["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert {one["name"] for one in made["imagePullSecrets"]} == {"a", "b", "c"}
    assert pod(settings=settings, kubernetes={"serviceAccount": "own"})["serviceAccountName"] == "own"


def test_a_module_says_where_its_pods_run() -> None:
    """In Kubernetes's own words."""
    toleration = {"key": "gpu", "operator": "Exists"}
    affinity: Document = {"nodeAffinity": {}}
    made = pod(
        kubernetes={
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [toleration],
            "affinity": affinity,
            "priorityClass": "low",
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        }
    )
    assert (made["nodeSelector"], made["tolerations"]) == ({"disk": "ssd"}, [toleration])
    assert (made["affinity"], made["priorityClassName"]) == (affinity, "low")
    assert {"name": "cache", "emptyDir": {}} in made["volumes"]
    ours = next(one for one in made["initContainers"] if one["name"] == "module")
    assert {"name": "cache", "mountPath": "/cache"} in ours["volumeMounts"]
    assert [one["name"] for one in made["initContainers"]] == ["prepare", "module"]


def test_templates_are_laid_over_in_turn() -> None:
    """The module's keys, the setting's template, the module's template."""
    settings = KubernetesSettings(pod_template={"spec": {"nodeSelector": {"a": "setting", "b": "setting"}}})
    own = {"nodeSelector": {"a": "key", "c": "key"}, "podTemplate": {"spec": {"nodeSelector": {"b": "template"}}}}
    assert pod(settings=settings, kubernetes=own)["nodeSelector"] == {"a": "setting", "b": "template", "c": "key"}


def test_a_template_can_change_the_containers_of_the_pod() -> None:
    """Their limits, say, or another that runs before the module."""
    limits = {"limits": {"memory": "4Gi"}}
    own = {
        "podTemplate": {
            "metadata": {"annotations": {"a": "b"}},
            "spec": {
                "containers": [{"name": "commit", "resources": limits}],
                "initContainers": [{"name": "prepare"}, {"name": "warm", "image": "w"}, {"name": "module"}],
            },
        }
    }
    made = pod(kubernetes=own)
    assert made["containers"][0]["resources"]["limits"] == {"memory": "4Gi"}
    assert made["containers"][0]["command"] == ["ion", "handler", "commit"]
    assert [one["name"] for one in made["initContainers"]] == ["prepare", "warm", "module"]
    assert body(kubernetes=own)["spec"]["template"]["metadata"]["annotations"]["a"] == "b"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"spec": {"restartPolicy": "OnFailure"}}, "restartPolicy must be Never"),
        ({"spec": {"activeDeadlineSeconds": None}}, "activeDeadlineSeconds must be there"),
        ({"spec": {"initContainers": [{"name": "module", "$patch": "delete"}]}}, "the container module is gone"),
        ({"spec": {"containers": [{"$patch": "replace"}, {"name": "x"}]}}, "the container commit is gone"),
        ({"spec": {"initContainers": [{"name": "module"}, {"name": "prepare"}]}}, "prepare comes after module"),
        ({"spec": {"containers": [{"name": "proxy"}]}}, "the container proxy runs beside commit"),
        ({"spec": {"volumes": [{"name": "ion", "$patch": "delete"}]}}, "the volume ion is gone"),
        ({"spec": {"volumes": [{"name": "handler", "emptyDir": {}}]}}, "the volume handler is the job's own Secret"),
        ({"spec": {"containers": [{"name": "commit", "command": ["x"]}]}}, "the command of container commit must be"),
        ({"spec": {"containers": [{"name": "commit", "args": ["x"]}]}}, "container commit has args; take them out"),
        (
            {"spec": {"initContainers": [{"name": "module", "volumeMounts": [{"$patch": "replace"}]}]}},
            "container module must have the volume ion at /ion",
        ),
        (
            {
                "spec": {
                    "initContainers": [{"name": "module", "volumeMounts": [{"name": "handler", "mountPath": "/h"}]}]
                }
            },
            "container module mounts the volume handler, which is for prepare and commit alone",
        ),
        ({"metadata": {"labels": {"ion.dev/job": "x"}}}, "the label ion.dev/job is Ion's; leave it as it is"),
        ({"metadata": None}, "the label app.kubernetes.io/name is Ion's"),
    ],
)
def test_a_template_that_breaks_the_pod_is_refused(template: Document, expected: str) -> None:
    """Whoever wrote it: it is said whose it is and what to do."""
    with pytest.raises(InvalidError) as caught:
        body(kubernetes={"podTemplate": template})
    assert str(caught.value).startswith(f"module detect: its kubernetes.podTemplate breaks the pod: {expected}")
    with pytest.raises(InvalidError, match=r"^kubernetes\.podTemplate breaks the pod: "):
        body(settings=KubernetesSettings(pod_template=template))


def test_a_module_is_checked_before_there_is_a_job() -> None:
    """It is refused as a Job of it would be."""
    check_module(assignment().revision, KubernetesSettings())
    for wrong in ({"kubernetes": {"x": 1}}, {"secrets": {"A": "A"}}, {"kubernetes": {"podTemplate": {"x": 1}}}):
        with pytest.raises(InvalidError, match=r"^module detect"):
            check_module(assignment(**wrong).revision, KubernetesSettings())


def test_a_modules_own_keys_cannot_give_it_the_jobs_secret() -> None:
    """Whichever way it is asked for."""
    mount = {"name": "handler", "mountPath": "/h"}
    with pytest.raises(InvalidError, match="which is for prepare and commit alone"):
        body(kubernetes={"volumeMounts": [mount]})


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"podTemplat": {}}, "have the unknown key 'podTemplat'; did you mean"),
        ({"serviceAccount": "A B"}, "serviceAccount: 'A B' is no name in Kubernetes"),
        ({"tolerations": "x"}, "Expected `array`, got `str`"),
        ({"podTemplate": {"template": {}}}, "has the key 'template', and a template has metadata and spec"),
        ({"podTemplate": {"spec": {"volumes": [{}]}}}, "an entry of spec.volumes has no name"),
        ({"volumes": [{"emptyDir": {}}]}, "an entry of spec.volumes has no name"),
    ],
)
def test_what_a_module_cannot_say_is_refused(own: Document, expected: str) -> None:
    """It may have come from elsewhere than a pipeline file."""
    with pytest.raises(InvalidError) as caught:
        body(kubernetes=own)
    assert str(caught.value).startswith("module detect: ")
    assert expected in str(caught.value)
