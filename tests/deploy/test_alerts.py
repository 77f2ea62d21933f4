"""The alerts: over figures that there are, with a section of the runbook each; and they fire when they should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.deploy.chart import CHART, render, values_of
from tests.deploy.promtool import promtool

from ion.dispatcher.finish import Step
from ion.management.metrics.counts import Counts
from ion.management.metrics.page import page
from ion.model.job import FailureClass
from ion.wiring import open_store

FILE = CHART / "alerts.yaml"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
STANDINGS = {"ready", "paused", "tripped", "unserved"}
NAMES = {rule["alert"] for rule in RULES}


async def exported(folder: Path) -> dict[str, str]:
    """Every sample's name that the page of a process may have, with its kind."""
    async with open_store(folder) as stores:
        text = (await page(stores, Counts())).decode()
    found: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
        found |= {family.name.removesuffix("_total") + end: family.type for end in ends.get(family.type, ("",))}
    return found


async def test_every_figure_in_an_alert_is_exported(tmp_path: Path) -> None:
    """Counters and histograms under the names that their samples have."""
    known = await exported(tmp_path / "store")
    assert {"ion_attempts_total", "ion_ledger_up", "ion_grpc_request_seconds_bucket"} <= known.keys()
    for rule in RULES:
        named = set(re.findall(r"\bion_\w+", rule["expr"]))
        assert named
        assert named <= known.keys(), rule["alert"]


def test_every_label_in_an_alert_has_a_value_that_occurs() -> None:
    """A matcher that fits nothing is an alert that never fires."""
    known = {
        "standing": STANDINGS,
        "outcome": {step.value for step in Step},
        "class": {kind.value for kind in FailureClass},
        "code": {"UNKNOWN", "INTERNAL", "UNAVAILABLE"},
    }
    found = [match for rule in RULES for match in re.findall(r'(\w+)=~?"([^"]*)"', rule["expr"])]
    assert found
    for label, values in found:
        assert set(values.split("|")) <= known[label], (label, values)


def test_every_alert_has_a_section_of_the_runbook() -> None:
    """And every section an alert; each says what it means, what to look at and what to do."""
    sections = re.split(r"(?m)^## ", RUNBOOK.read_text())[1:]
    named = {section.split("\n", 1)[0]: section for section in sections}
    assert named.keys() == NAMES
    for rule in RULES:
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{rule['alert'].lower()}")
        for part in ("**What it means.**", "**What to look at.**", "**What to do.**"):
            assert part in named[rule["alert"]], rule["alert"]


def test_the_operators_object_holds_the_file_as_it_is() -> None:
    """Prometheus' own templates in it are not filled in by Helm."""
    made = render(values_of("full"))["PrometheusRule", "ion"]
    assert made["spec"] == yaml.safe_load(FILE.read_text())
    assert made["metadata"]["labels"]["release"] == "prometheus"
    assert "{{ $labels.namespace }}" in str(made["spec"])


# ---- as Prometheus itself understands them ------------------------------------------------------------------------

FIRES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    # alert: series over minutes, when, and the labels that it has then
    "IonLedgerDown": ({'ion_ledger_up{namespace="m",pod="a"}': "1 0x20"}, "5m", {"namespace": "m"}),
    "IonNotScraped": ({'up{namespace="m"}': "0x60"}, "11m", {}),
    "IonResultsNotReleased": (
        {f'ion_oldest_unreleased_seconds{{namespace="m",pod="{pod}"}}': "0+60x60" for pod in "ab"},
        "12m",
        {"namespace": "m"},
    ),
    "IonModuleUnserved": (
        {'ion_module_standing{namespace="m",module="detect",standing="unserved"}': "1x60"},
        "11m",
        {"namespace": "m", "module": "detect"},
    ),
    "IonModuleTripped": (
        {'ion_module_standing{namespace="m",module="detect",standing="tripped"}': "1x60"},
        "6m",
        {"namespace": "m", "module": "detect"},
    ),
    "IonQueueOld": (
        {
            'ion_oldest_waiting_seconds{namespace="m",module="detect"}': "3700+60x60",
            'ion_oldest_waiting_seconds{namespace="m",module="resting"}': "3700+60x60",
            'ion_module_standing{namespace="m",module="resting",standing="paused"}': "1x60",
            'ion_module_standing{namespace="m",module="detect",standing="ready"}': "1x60",
        },
        "11m",
        {"namespace": "m", "module": "detect"},
    ),
    "IonDeadLetters": (
        {'ion_attempts_total{namespace="m",module="detect",outcome="dead"}': "0x10 1x50"},
        "12m",
        {"namespace": "m", "module": "detect"},
    ),
    "IonInfrastructureFailures": (
        {'ion_failures_total{namespace="m",module="detect",class="infrastructure"}': "0+1x60"},
        "15m",
        {"namespace": "m", "module": "detect", "class": "infrastructure"},
    ),
    "IonMemoryFailures": (
        {'ion_failures_total{namespace="m",module="detect",class="memory"}': "0+1x60"},
        "10m",
        {"namespace": "m", "module": "detect"},
    ),
    "IonManagementErrors": (
        {
            'ion_grpc_requests_total{namespace="m",method="Get",code="OK"}': "0+10x60",
            'ion_grpc_requests_total{namespace="m",method="Get",code="INTERNAL"}': "0+1x60",
            'ion_grpc_requests_total{namespace="m",method="List",code="OK"}': "0+10x60",
        },
        "30m",
        {"namespace": "m", "method": "Get"},
    ),
}
QUIET = {
    'ion_ledger_up{namespace="m",pod="a"}': "1x120",
    'ion_oldest_unreleased_seconds{namespace="m",pod="a"}': "20x120",
    'ion_oldest_waiting_seconds{namespace="m",module="detect"}': "60x120",
    'ion_module_standing{namespace="m",module="detect",standing="ready"}': "1x120",
    'ion_attempts_total{namespace="m",module="detect",outcome="committed"}': "0+9x120",
    'ion_failures_total{namespace="m",module="detect",class="module"}': "0+9x120",
    'ion_grpc_requests_total{namespace="m",method="Get",code="OK"}': "0+10x120",
    'ion_grpc_requests_total{namespace="m",method="Get",code="NOT_FOUND"}': "0+9x120",
}


def series(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": of} for name, of in values.items()]


def rule_test(values: dict[str, str], at: str, name: str, wanted: list[dict[str, Any]]) -> dict[str, Any]:
    case = {"eval_time": at, "alertname": name, "exp_alerts": wanted}
    return {"interval": "1m", "input_series": series(values), "alert_rule_test": [case]}


def fired(folder: Path, tests: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    bare = [{key: value for key, value in rule.items() if key != "annotations"} for rule in RULES]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "ion", "rules": bare}]}))
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    return promtool(folder, "test", "rules", "test.yaml")


def test_prometheus_takes_the_file(tmp_path: Path) -> None:
    """Expressions, durations and templates."""
    checked = promtool(tmp_path, "check", "rules", str(FILE))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_fires_once_for_what_it_is_about(rule: dict[str, Any], tmp_path: Path) -> None:
    """With the labels that its sentence names, though several processes tell the same."""
    values, at, labels = FIRES[rule["alert"]]
    wanted = [{"exp_labels": {**rule["labels"], **labels}}]
    ran = fired(tmp_path, [rule_test(values, at, rule["alert"], wanted)])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_alert_fires_when_all_is_well(tmp_path: Path) -> None:
    """Work, failures of modules that are tried again, refusals, and nothing to say."""
    ran = fired(tmp_path, [rule_test(QUIET, at, name, []) for name in NAMES for at in ("15m", "70m", "110m")])
    assert ran.returncode == 0, ran.stdout + ran.stderr
