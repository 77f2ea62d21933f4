"""`ion doctor`: what is amiss, each with the next command."""

import sys
from collections.abc import Sequence

import click

from ion.cli.context import example, manage, target
from ion.cli.output import document, plain, remark
from ion.errors import UnavailableError
from ion.management.local.symptoms import fault
from ion.management.report_text import many
from ion.management.verbs import Management
from ion.management.verbs.server import Grade, Symptom

TITLES = {Grade.FAULT: "faults", Grade.WARNING: "warnings", Grade.FINE: "fine"}


@click.command("doctor", epilog=example("ion doctor", "ion doctor --endpoint ion.acme:9000 --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def doctor_command(*, as_json: bool) -> None:
    """Say what is amiss, and what to type next.

    Whether ledger, documents, bus and blobs answer; clocks; what waits for long, and for whom; what is paused, held or
    dead; room. Exit code 0 if all is fine or there are only warnings, 1 if there is a fault.
    """

    async def work(ion: Management) -> list[Symptom]:
        return [symptom async for symptom in ion.server.doctor()]

    try:
        symptoms = manage(work)
    except UnavailableError as error:
        symptoms = [_unreachable(error)]
    if as_json:
        document(symptoms)
    else:
        _show(symptoms)
    sys.exit(1 if any(symptom.grade is Grade.FAULT for symptom in symptoms) else 0)


def _unreachable(error: UnavailableError) -> Symptom:
    """A store that cannot be opened says itself what is away; of an endpoint that was named it is found out."""
    from ion.cli.reach import Line, why_unreachable

    chosen = target()
    if chosen.store is not None:
        return fault("store", f"{chosen.store} cannot be opened: {error}", "ion doctor")
    if not chosen.named:
        return fault("store", str(error), "ion init")
    line = Line(
        endpoint=chosen.endpoint,
        certfile=chosen.certfile,
        keyfile=chosen.keyfile,
        cacertfile=chosen.cacertfile,
    )
    return why_unreachable(line, str(error))


def _show(symptoms: Sequence[Symptom]) -> None:
    """The gravest first; what is fine in a line each."""
    for grade, title in TITLES.items():
        group = [symptom for symptom in symptoms if symptom.grade is grade]
        if group:
            click.echo(title)
        for symptom in group:
            click.echo(f"  {symptom.about}: {plain(symptom.message)}")
            if symptom.command:
                click.echo(f"      {plain(symptom.command)}")
    counts = {grade: sum(one.grade is grade for one in symptoms) for grade in Grade}
    remark(f"{many(counts[Grade.FAULT], 'fault')}, {many(counts[Grade.WARNING], 'warning')}")
