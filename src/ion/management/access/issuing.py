"""Certificates, keys and revocation lists themselves; `authority` keeps them in its folder."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ion.errors import InvalidError
from ion.management.access.certificate import ORGANIZATION, PIPELINE
from ion.model.role import Role

SKEW = timedelta(minutes=5)
"""Clocks differ: what is valid from this moment on is not yet valid elsewhere."""
UNIT_MOST = 64
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Own(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_authority(days: int) -> Own:
    """An authority that signs itself, and can make no further authorities."""
    key, name = _new_key(), _name("Ion certificates")
    builder = _begun(name, key, days).issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Own(builder.sign(key, hashes.SHA256()), key)


def server(own: Own, hosts: Sequence[str], days: int) -> Own:
    """For these names and addresses, and always for this host's own."""
    names = list(dict.fromkeys((*hosts, *LOOPBACK)))
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    return _signed(own, _name(names[0][:UNIT_MOST]), days, ExtendedKeyUsageOID.SERVER_AUTH, alternatives)


def client(own: Own, name: str, role: Role, pipelines: Sequence[str], days: int) -> Own:
    """With the role, and the pipelines that it is for, as organizational units of the subject."""
    for pipeline in pipelines:
        if not 1 <= len(pipeline) <= UNIT_MOST - len(PIPELINE):
            raise InvalidError(f"'{pipeline}' cannot name a pipeline in a certificate: use 1 to 55 characters")
    units = (role.value, *(f"{PIPELINE}{pipeline}" for pipeline in pipelines))
    return _signed(own, _name(name, units), days, ExtendedKeyUsageOID.CLIENT_AUTH)


def opened(certificate: bytes, key: bytes) -> Own:
    """From PEM. Raises InvalidError."""
    try:
        found = serialization.load_pem_private_key(key, None)
        own = x509.load_pem_x509_certificate(certificate)
    except (ValueError, TypeError) as error:
        raise InvalidError(f"the authority's files are damaged: {error}") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.public_key() != own.public_key():
        raise InvalidError("ca.key is not the key of ca.pem: restore the two that belong together")
    return Own(own, found)


def revocation_list(own: Own, revoked: Iterable[x509.RevokedCertificate], number: int) -> bytes:
    """A list in PEM. It says when the next comes, as it has to: not before the authority's own end."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(own.certificate.subject)
    builder = builder.last_update(datetime.now(UTC)).next_update(own.certificate.not_valid_after_utc)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(own.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def with_revoked(own: Own, before: bytes, serials: Iterable[int]) -> bytes:
    """The list with these as well."""
    old = x509.load_pem_x509_crl(before)
    number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    now = datetime.now(UTC)
    fresh = [x509.RevokedCertificateBuilder(serial, now).build() for serial in serials]
    return revocation_list(own, [*old, *fresh], number + 1)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Not encrypted: a server has nobody to type a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# ---- parts ------------------------------------------------------------------------------------------------------


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str, units: Sequence[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    parts += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in reversed(units)]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - SKEW).not_valid_after(now + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _signed(
    own: Own,
    subject: x509.Name,
    days: int,
    use: x509.ObjectIdentifier,
    alternatives: x509.SubjectAlternativeName | None = None,
) -> Own:
    key = _new_key()
    builder = _begun(subject, key, days).issuer_name(own.certificate.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(own.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    return Own(builder.sign(own.key, hashes.SHA256()), key)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise InvalidError(f"'{host}' is no host's name: write it in ASCII, as in DNS") from error
