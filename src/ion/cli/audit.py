"""`ion audit`: does what the ledger says agree with what is stored?"""

import sys

import click

from ion.cli.context import example, manage
from ion.cli.output import document, plain, remark
from ion.management.audit import Finding, Severity
from ion.management.report_text import many
from ion.management.verbs import Management


@click.command("audit", epilog=example("ion audit", "ion audit --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def audit_command(*, as_json: bool) -> None:
    """Check a store: each job's results, records and children, each flow's counts, and blobs that nobody needs.

    Changes nothing. Exit code 0 if every promise is kept, 1 if one is broken; notes do not count.
    """

    async def work(ion: Management) -> list[Finding]:
        return [finding async for finding in ion.server.audit()]

    findings = manage(work)
    if as_json:
        document(findings)
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {plain(finding.about)}: {plain(finding.message)}")
    faults = sum(finding.severity is Severity.FAULT for finding in findings)
    remark(f"{many(faults, 'fault')}, {many(len(findings) - faults, 'note')}")
    sys.exit(1 if faults else 0)
