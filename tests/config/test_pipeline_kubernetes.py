"""Kubernetes in the pipeline file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ion.adapters.executors.kubernetes.settings import KubernetesSettings, ModuleOptions, SecretKey, module_options
from ion.config.clusters import KUBERNETES, MODULE_KUBERNETES
from ion.config.pipeline import Pipeline
from ion.config.schema import json_schema
from ion.config.settings import SecretSource, Settings
from ion.model.module import Module, revise

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]
ONE = "ion: 1\nmodules: {a: {command: [x]}}\n"


def keys(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_every_setting_has_a_key() -> None:
    """What the executor may be told can be written, in Kubernetes's own way, and nothing else."""
    seconds = {"slack": "slackS", "pullDeadline": "pullDeadlineS", "kept": "keptS"}
    assert {seconds.get(key, key) for key in KUBERNETES.fields} == keys(KubernetesSettings) - {"secrets"}
    assert set(MODULE_KUBERNETES.fields) == keys(ModuleOptions)


def test_the_cluster_is_typed(load: Load, tmp_path: Path) -> None:
    """A path starts at the file, durations become seconds, one name stands for a list."""
    text = """
kubernetes:
  namespace: media
  context: kind
  kubeconfig: conf/kube
  instance: ion-2
  handlerImage: acme/ion:1
  imagePullSecrets: registry
  serviceAccount: jobs
  hostNetwork: true
  podTemplate: {spec: {runtimeClassName: gvisor}}
  slack: 20m
  pullDeadline: 90
  kept: 12h
"""
    assert load(ONE + text).settings.kubernetes == KubernetesSettings(
        namespace="media",
        context="kind",
        kubeconfig=str(tmp_path / "conf/kube"),
        instance="ion-2",
        handler_image="acme/ion:1",
        image_pull_secrets=("registry",),
        service_account="jobs",
        host_network=True,
        pod_template={"spec": {"runtimeClassName": "gvisor"}},
        slack_s=1200.0,
        pull_deadline_s=90.0,
        kept_s=43_200.0,
    )
    assert load(ONE).settings.kubernetes == KubernetesSettings()


def test_what_a_module_says_is_kept_as_json(load: Load) -> None:
    """So it is the same whether it came from a file or from another host; numbers stay numbers, texts texts."""
    text = """
ion: 1
modules:
  detect:
    image: acme/detect:1
    kubernetes:
      imagePullSecrets: a
      nodeSelector: {gpu: true, count: 2}
      tolerations: [{key: gpu, tolerationSeconds: 30}]
      volumes: [{name: cache, emptyDir: {}}]
      podTemplate: {spec: {hostNetwork: true, containers: [{name: commit, command: null}]}}
"""
    (module,) = load(text).modules
    assert module.kubernetes == {
        "imagePullSecrets": ["a"],
        "nodeSelector": {"gpu": "true", "count": "2"},
        "tolerations": [{"key": "gpu", "tolerationSeconds": 30}],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "podTemplate": {"spec": {"hostNetwork": True, "containers": [{"name": "commit", "command": None}]}},
    }
    again = msgspec.json.decode(msgspec.json.encode(module), type=Module)
    assert again == module
    assert revise(again).id == revise(module).id
    assert module_options("detect", module.kubernetes).image_pull_secrets == ("a",)


def test_a_profile_lays_its_template_over_the_files(load: Load) -> None:
    """Key by key, as everything in a profile."""
    text = """
ion: 1
defaults: {kubernetes: {nodeSelector: {disk: ssd}}}
modules: {a: {command: [x], kubernetes: {serviceAccount: one}}}
profiles: {cluster: {modules: {a: {kubernetes: {serviceAccount: two, priorityClass: low}}}}}
"""
    assert load(text, profile="cluster").modules[0].kubernetes == {
        "nodeSelector": {"disk": "ssd"},
        "serviceAccount": "two",
        "priorityClass": "low",
    }


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{namespce: a}", "unknown key 'namespce' in kubernetes; did you mean 'namespace'?"),
        ("{handler_image: a}", "unknown key 'handler_image' in kubernetes; did you mean 'handlerImage'?"),
        ("{namespace: A B}", "kubernetes: namespace: 'A B' is no name in Kubernetes: use a-z, 0-9, dashes and dots"),
        ("{instance: a.b}", "kubernetes: the instance 'a.b' is no name: use up to 40 of a-z, 0-9 and dashes"),
        ("{hostNetwork: yes}", "kubernetes.hostNetwork must be true or false, not 'yes'"),
        ("{slack: 0}", "kubernetes.slack must be a duration longer than 0, not '0'"),
        ("[x]", "kubernetes must be a mapping, not a list; its keys: namespace, context"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(refusal: Refusal, section: str, expected: str) -> None:
    """With line and what to write."""
    assert refusal(f"{ONE}kubernetes: {section}\n").startswith(f"ion.yaml:3: {expected}")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{podTemplat: {}}", "unknown key 'podTemplat' in modules.detect.kubernetes; did you mean 'podTemplate'?"),
        ("{tolerations: {key: x}}", "modules.detect.kubernetes.tolerations must be a list, not a mapping"),
        ("{tolerations: [x]}", "modules.detect.kubernetes.tolerations[0] must be a mapping, not a single value"),
        ("{priorityClass: A}", "modules.detect.kubernetes: priorityClass: 'A' is no name in Kubernetes"),
        ("{podTemplate: x}", "modules.detect.kubernetes.podTemplate must be a mapping, not a single value"),
    ],
)
def test_what_a_module_cannot_say_of_its_pods_is_refused(
    module_refusal: Callable[..., str], section: str, expected: str
) -> None:
    """With line and what to write."""
    assert module_refusal("command: x", f"kubernetes: {section}").startswith(f"ion.yaml:5: {expected}")


def test_a_secret_may_be_on_the_host_and_in_the_cluster(load: Load) -> None:
    """Each provider takes what is for it; the executor of the cluster is told the latter."""
    text = "secrets: {a: {env: A}, b: {env: B, secret: vision, key: api}, c: {secret: other}}\n"
    settings = load(ONE + text).settings
    assert settings.secrets == {
        "a": SecretSource(env="A"),
        "b": SecretSource(env="B", secret="vision", key="api"),
        "c": SecretSource(secret="other"),
    }
    assert settings.cluster.secrets == {"b": SecretKey(secret="vision", key="api"), "c": SecretKey(secret="other")}
    assert Settings().cluster == KubernetesSettings()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{key: a}", "secrets.s: a secret comes from env or from file, on Kubernetes from a secret; write one of them"),
        ("{env: A, key: a}", "secrets.s: a key is that of a secret; write which secret"),
        ("{env: A, file: b, secret: c}", "secrets.s: a secret comes from env or from file; write one of the two"),
    ],
)
def test_a_secret_that_cannot_be_found_is_refused(refusal: Refusal, source: str, expected: str) -> None:
    """With line and what to write."""
    assert refusal(f"{ONE}secrets: {{s: {source}}}\n") == f"ion.yaml:3: {expected}"


def test_an_editor_knows_the_keys() -> None:
    """The schema has both sections, with a description of each key."""
    definitions: dict[str, Any] = json_schema()["definitions"]
    assert set(definitions["kubernetes"]["properties"]) == set(KUBERNETES.fields)
    assert set(definitions["module_kubernetes"]["properties"]) == set(MODULE_KUBERNETES.fields)
    assert all(one["description"] for one in definitions["kubernetes"]["properties"].values())
    assert definitions["kubernetes"]["properties"]["instance"]["default"] == "ion"
