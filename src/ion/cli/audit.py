"""`ion audit`: does what the ledger says agree with what is stored?"""

import sys

import click

from ion.cli.context import Place, example, in_store
from ion.cli.output import document, plain, remark
from ion.management.audit import Finding, Severity, audit
from ion.management.report_text import many


@click.command("audit", epilog=example("ion audit", "ion audit --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def audit_command(*, as_json: bool) -> None:
    """Check a store: each job's results, records and children, each flow's counts, and blobs that nobody needs.

    Changes nothing. Exit code 0 if every promise is kept, 1 if one is broken; notes do not count.
    """

    async def work(place: Place) -> list[Finding]:
        return [finding async for finding in audit(place.ledger, place.documents, place.blobs)]

    findings = in_store(work)
    if as_json:
        document(findings)
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {plain(finding.about)}: {plain(finding.message)}")
    faults = sum(finding.severity is Severity.FAULT for finding in findings)
    remark(f"{many(faults, 'fault')}, {many(len(findings) - faults, 'note')}")
    sys.exit(1 if faults else 0)
