"""Dispatchers of a cluster in the pipeline file, and files that are settings alone."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ion.adapters.deployments.kubernetes.settings import DispatchersSettings, Replicas
from ion.config.clusters import DISPATCHERS
from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.errors import PipelineError

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]
ONE = "ion: 1\nmodules: {a: {command: [x]}}\n"


def test_every_setting_of_dispatchers_has_a_key() -> None:
    """What may be said of them can be written, in Kubernetes's own way, and nothing else."""
    assert set(DISPATCHERS.fields) == {field.encode_name for field in msgspec.structs.fields(DispatchersSettings)}


def test_dispatchers_are_typed(load: Load) -> None:
    """Numbers, durations and names; templates are passed on."""
    text = """
kubernetes:
  dispatchers:
    image: acme/ion:1
    serviceAccount: dispatchers
    configMap: ion
    secret: connections
    replicas: {min: 0, max: 5, downAfter: 2m}
    perReplica: 50
    figures: http://ion-management:9464
    resources: {requests: {cpu: 1}}
    podTemplate: {spec: {priorityClassName: high}}
"""
    assert load(ONE + text).settings.kubernetes.dispatchers == DispatchersSettings(
        image="acme/ion:1",
        service_account="dispatchers",
        config_map="ion",
        secret="connections",
        replicas=Replicas(min=0, max=5, down_after_s=120.0),
        per_replica=50,
        figures="http://ion-management:9464",
        resources={"requests": {"cpu": 1}},
        pod_template={"spec": {"priorityClassName": "high"}},
    )


def test_without_the_key_nothing_is_deployed(load: Load) -> None:
    """A cluster may be named without it."""
    assert load(ONE + "kubernetes: {namespace: media}\n").settings.kubernetes.dispatchers is None


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("{}", "dispatchers need a configMap: name the ConfigMap whose key `ion.yaml` is this file"),
        ("{configMap: ion, replica: {}}", "unknown key 'replica' in kubernetes.dispatchers; did you mean 'replicas'"),
        ("{configMap: ion, replicas: {min: 2}}", "replicas.min must be a whole number from 0 to 1"),
        ("{configMap: ion, replicas: {max: 0}}", "replicas.max must be a whole number from 1 to 1000"),
        ("{configMap: Ion}", "configMap: 'Ion' is no name in Kubernetes"),
        ("{configMap: ion, figures: ion-management}", "kubernetes.dispatchers.figures must be a URL"),
        ("{configMap: ion, perReplica: 0}", "perReplica must be a whole number from 1"),
    ],
)
def test_what_cannot_be_is_refused(refusal: Refusal, said: str, says: str) -> None:
    """With the key, and what to write instead."""
    assert says in refusal(ONE + f"kubernetes: {{dispatchers: {said}}}\n")


def test_a_file_of_settings_alone_is_for_those_who_ask_for_it(tmp_path: Path) -> None:
    """Whoever serves a registry needs no modules; whoever runs a pipeline does."""
    file = tmp_path / "ion.yaml"
    file.write_text("ion: 1\nfront: {port: 9002}\n")
    assert load_pipeline(file, environ={}, settings_only=True).settings.front.port == 9002
    with pytest.raises(PipelineError, match="the pipeline has no modules; add one under 'modules'"):
        load_pipeline(file, environ={})
