"""What people are told of where a module's jobs run, and where a job does."""

from ion.cli.job_view import place
from ion.cli.module_view import configured
from ion.model.module import Module, Rule, revise
from ion.testing.conformance.ledger_stage import waiting_job

RULES = (
    Rule(size_least=2**30 + 1, provider="kubernetes"),
    Rule(size_most=20 * 2**20, waited_s=600.0, priority=5),
    Rule(filters=({"exact": {"data.kind": "video"}},), waited_s=1.5, provider="azurebatch"),
)


def test_a_module_tells_its_rules_as_the_file_has_them() -> None:
    """Each on a line with its number, which the history of a job names."""
    told = list(configured(revise(Module(name="detect", command=("x",), route=RULES, priority=2))))
    assert [pair for pair in told if pair[0].startswith(("rule", "priority"))] == [
        ("rule 1", "kubernetes if size >1Gi"),
        ("rule 2", "local, priority 5 if size <=20Mi, waited 10m"),
        ("rule 3", 'azurebatch if {"exact":{"data.kind":"video"}}, waited 1.5s'),
        ("priority", "2"),
    ]


def test_a_job_tells_where_it_runs() -> None:
    """By its rules, whether it waits or was claimed; without rules there is nothing to tell."""
    routes = {
        "": "",
        "local!0": "local",
        "kubernetes!5@12345678>600.0": "kubernetes, priority 5",
        "azurebatch!-2@12345678": "azurebatch, priority -2",
    }
    for route, told in routes.items():
        assert place(waiting_job(flow="f", route=route)) == told
