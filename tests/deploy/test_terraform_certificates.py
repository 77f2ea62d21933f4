"""Terraform's certificates are such as `ion certs` makes, and Ion gives who has the client's the role of an admin."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.deploy.terraform import Applied

from ion.management.access import issuing
from ion.management.access.authority import CA_DAYS, CLIENT_DAYS, CLIENT_NAME, SERVER_DAYS
from ion.management.access.callers import carried
from ion.management.access.certificate import certificate
from ion.model.role import Role

USES = {
    "digital_signature": "digital_signature",
    "key_cert_sign": "cert_signing",
    "crl_sign": "crl_signing",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    ExtendedKeyUsageOID.SERVER_AUTH: "server_auth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client_auth",
}
"""What a certificate is for: as Python has it, and as the provider does."""
PARTS = {
    NameOID.COMMON_NAME: "common_name",
    NameOID.ORGANIZATION_NAME: "organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizational_unit",
}


def uses(found: x509.Certificate) -> set[str]:
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    said: set[Any] = {name for name in USES if isinstance(name, str) and getattr(usage, name)}
    said |= {
        one
        for extension in found.extensions
        if isinstance(extension.value, x509.ExtendedKeyUsage)
        for one in extension.value
    }
    return {USES[one] for one in said}


def subject(found: x509.Certificate) -> dict[str, Any]:
    return {PARTS[part.oid]: part.value for part in found.subject}


def said(block: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in block[0].items() if value is not None}


@pytest.fixture(scope="module")
def ours() -> dict[str, x509.Certificate]:
    """Those of `ion certs`."""
    authority = issuing.new_authority(CA_DAYS)
    return {
        "authority": authority.certificate,
        "server": issuing.server(authority, ["ion.acme"], SERVER_DAYS).certificate,
        "client": issuing.client(authority, "admin", Role.ADMIN, (), CLIENT_DAYS).certificate,
    }


def test_they_are_for_the_same_and_last_as_long(applied: Applied, ours: Mapping[str, x509.Certificate]) -> None:
    """Uses, days, and an authority that makes no further ones."""
    days = {"authority": CA_DAYS, "server": SERVER_DAYS, "client": CLIENT_DAYS}
    for name, own in ours.items():
        kind = "tls_self_signed_cert" if name == "authority" else "tls_locally_signed_cert"
        made = applied.one(f"{kind}.{name}")
        assert set(made["allowed_uses"]) == uses(own), name
        assert made["validity_period_hours"] == 24 * days[name]
    authority = applied.one("tls_self_signed_cert.authority")
    bounds = ours["authority"].extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (authority["is_ca_certificate"], authority["max_path_length"]) == (bounds.ca, bounds.path_length)
    key = ours["server"].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert {one["ecdsa_curve"] for one in applied.of("tls_private_key").values()} == {"P256"}


def test_subjects_are_the_same(applied: Applied, ours: Mapping[str, x509.Certificate]) -> None:
    """But for the server's name, which is the host's."""
    assert said(applied.one("tls_self_signed_cert.authority")["subject"]) == subject(ours["authority"])
    assert said(applied.one("tls_cert_request.client")["subject"]) == subject(ours["client"])
    fqdn = applied.outputs["ion_fqdn"]["value"]
    assert said(applied.one("tls_cert_request.server")["subject"]) == subject(ours["server"]) | {"common_name": fqdn}


def test_the_server_is_known_by_its_names(applied: Applied, ours: Mapping[str, x509.Certificate]) -> None:
    """From outside, inside of the cluster, and through `kubectl port-forward`."""
    request = applied.one("tls_cert_request.server")
    own = ours["server"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = {applied.outputs["ion_fqdn"]["value"], "ion-management", "ion-management.ion.svc"}
    assert set(request["dns_names"]) == names | (set(own.get_values_for_type(x509.DNSName)) - {"ion.acme"})
    assert {ipaddress.ip_address(one) for one in request["ip_addresses"]} == set(
        own.get_values_for_type(x509.IPAddress)
    )


def test_who_has_the_clients_certificate_is_an_admin(applied: Applied) -> None:
    """As Ion reads the subject that Terraform writes."""
    asked = said(applied.one("tls_cert_request.client")["subject"])
    order = ("organization", "organizational_unit", "common_name")  # as the provider's library writes a name
    oids = {name: oid for oid, name in PARTS.items()}
    name = x509.Name([x509.NameAttribute(oids[part], asked[part]) for part in order])
    own = issuing.new_authority(1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(own.certificate.subject)
    builder = builder.public_key(own.key.public_key()).serial_number(1)
    builder = builder.not_valid_before(own.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(own.certificate.not_valid_after_utc)
    found = certificate(builder.sign(own.key, hashes.SHA256()))
    grant = carried(found)
    assert (found.holder, grant.role, grant.pipelines) == ("admin", Role.ADMIN, ())
    assert CLIENT_NAME.fullmatch(found.holder)
