"""`ion certs`: a certificate authority for a small installation, in a folder."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.context import example
from ion.cli.output import document, here, moment, plain, remark, table
from ion.model.role import Role

if TYPE_CHECKING:  # heavy, and an extra
    from ion.management.access.authority import Authority, Issued

FOLDER = Path("~/.ion/certs")

FOLDER_OPTION = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    help="Where the authority is kept.",
)
REPLACE = click.option("--replace", is_flag=True, help="Put another certificate in the place of one that is there.")


@click.group(
    epilog=example("ion certs init --host ion.acme", "ion certs client --name alice --role operator", "ion certs list")
)
def certs() -> None:
    """Make certificates for the management API, and take them back."""


@certs.command(epilog=example("ion certs init --host ion.acme --host 10.0.0.7"))
@FOLDER_OPTION
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="A name or address of the server; repeatable.")
@click.option("--days", type=int, default=825, show_default=True, help="How long the server's certificate is valid.")
@REPLACE
def init(*, folder: Path, hosts: tuple[str, ...], days: int, replace: bool) -> None:
    """Make an authority, and the server's certificate.

    The certificate holds for localhost in any case. With --replace an authority that is there stays, and so do its
    clients; the server gets another certificate, which a running one uses from the next connection on.
    """
    authority = _authority(folder)
    authority.init(hosts, days=days, replace=replace)
    certificate, key, ca = (here(str(path)) for path in authority.server)
    remark(f"authority: {here(str(authority.folder))}")
    click.echo(f"ion management start --certfile {certificate} --keyfile {key} --cacertfile {ca}")


@certs.command(epilog=example("ion certs client --name alice --role operator --pipeline media --days 90"))
@FOLDER_OPTION
@click.option("--name", required=True, help="Who gets it.")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it allows.")
@click.option("--pipeline", "pipelines", multiple=True, metavar="NAME", help="Only in this pipeline; repeatable.")
@click.option("--days", type=int, default=365, show_default=True, help="How long it is valid.")
@REPLACE
def client(*, folder: Path, name: str, role: str, pipelines: tuple[str, ...], days: int, replace: bool) -> None:
    """Make a client's certificate, which carries its role.

    Hand its two files and ca.pem to the client. A certificate that was replaced is valid until it is revoked.
    """
    authority = _authority(folder)
    made = authority.client(name, Role(role), pipelines, days=days, replace=replace)
    certificate, key, ca = (here(str(path)) for path in authority.files_of(name))
    remark(f"certificate {made.serial:x} of {name}: {role}, until {moment(made.until)}")
    click.echo(f"ion --endpoint HOST:9000 --certfile {certificate} --keyfile {key} --cacertfile {ca} job list")


@certs.command("list", epilog=example("ion certs list --json"))
@FOLDER_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_certs(*, folder: Path, as_json: bool) -> None:
    """List the certificates that were given out."""
    rows = [_row(one, moment if not as_json else datetime.isoformat) for one in _authority(folder).issued()]
    if as_json:
        document(rows)
        return
    shown = ([*row.values()] for row in rows)
    table(("NAME", "ROLE", "PIPELINES", "EXPIRES", "STATE", "SERIAL"), shown)


@certs.command(epilog=example("ion certs revoke alice", "ion certs revoke 5f0c…"))
@FOLDER_OPTION
@click.argument("which", metavar="NAME|SERIAL")
def revoke(*, folder: Path, which: str) -> None:
    """Take back the certificates of a name, or the one with a serial.

    A server on this folder refuses them from the next call on, on open connections too. Copy revoked.pem to servers
    elsewhere.
    """
    authority = _authority(folder)
    for one in authority.revoke(which):
        click.echo(f"revoked: {one.serial:x} of {plain(one.holder)}")
    remark(f"list: {here(str(authority.revoked))}")


def _row(one: "Issued", when: Callable[[datetime], str]) -> dict[str, str]:
    from ion.management.access.callers import carried

    grant = carried(one.certificate)
    given = any(unit == grant.role for unit in one.certificate.values("OU"))
    return {
        "name": plain(one.certificate.holder),
        "role": grant.role.value if given else "server",
        "pipelines": ",".join(grant.pipelines),
        "expires": when(one.certificate.until),
        "state": one.standing(datetime.now(UTC)),
        "serial": f"{one.certificate.serial:x}",
    }


def _authority(folder: Path) -> "Authority":
    from ion.cli.extras import need_management

    need_management("cryptography")
    from ion.management.access.authority import Authority

    return Authority(folder.expanduser().absolute())
