"""Certificates of the voters and of those who ask them, made of the mesh's secret without anybody who gives them out.

    secret ──► the authority's key ──► every host signs a certificate of its own

All hosts derive the same key of an authority, and each makes the authority's certificate anew: names, number and time are
fixed, and a signature of that key is as good as another one. With it a host signs a key of its own for server and client.
Voters and clients show each other theirs, so without the secret nobody reads or writes. All certificates are good for a common
name, by which clients know a voter also where they do not speak to its address: through a relay. They hold from 1970 to 9999,
so a clock that is wrong shuts nobody out; to shut somebody out, the others take another secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.base.errors import Failed
from weft.mesh.secret import Secret
from weft.store.etcd_link import Tls

NAME = "voter.weft"
"""What every certificate is for, besides its host's addresses."""
CA, CERT, KEY = "ca.pem", "cert.pem", "key.pem"
"""The files."""

_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, section 2.4.2)."""
_SPARE = 16
"""Octets beyond the order's own 32, so that all keys are as good as equally likely (FIPS 186-5, A.2.1)."""
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weft mesh")])


def client(secret: Secret) -> Tls:
    """What a host shows to voters, and goes by to know them."""
    return issue(secret, ())


def issue(secret: Secret, addresses: Sequence[IPv4Address | IPv6Address]) -> Tls:
    """The authority, and a new key with a certificate for these addresses."""
    authority = _authority_key(secret)
    key = ec.generate_private_key(_CURVE)
    return Tls(
        ca=_pem(_authority(authority)), cert=_pem(_leaf(authority, key, addresses)), key=_private(key), name=NAME
    )


def write(folder: Path, made: Tls) -> None:
    """As files that nobody but their owner reads. Raises Failed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in ((CA, made.ca), (CERT, made.cert), (KEY, made.key)):
            new = folder / f"{name}.new"
            new.unlink(missing_ok=True)
            new.touch(mode=0o600, exist_ok=False)
            new.write_bytes(text)
            new.rename(folder / name)
    except OSError as error:
        raise Failed(f"cannot write the voter's certificates in {folder}: {error.strerror or error}") from None


def fits(folder: Path, secret: Secret, addresses: Sequence[IPv4Address | IPv6Address]) -> bool:
    """Whether the certificate there is of this secret and for all these addresses."""
    try:
        cert = x509.load_pem_x509_certificate((folder / CERT).read_bytes())
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        cert.verify_directly_issued_by(_authority(_authority_key(secret)))
        has_key = (folder / KEY).exists() and (folder / CA).exists()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another one is made
        return False
    return has_key and set(addresses) <= set(names.get_values_for_type(x509.IPAddress))


def _authority_key(secret: Secret) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(secret.key("voters' authority", 32 + _SPARE)) % (_ORDER - 1) + 1
    return ec.derive_private_key(number, _CURVE)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return (
        _builder(key.public_key(), _AUTHORITY, serial=1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    authority: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    addresses: Sequence[IPv4Address | IPv6Address],
) -> x509.Certificate:
    names = [x509.DNSName(NAME), *(x509.IPAddress(address) for address in addresses)]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    return (
        _builder(key.public_key(), subject, serial=x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )


def _builder(key: ec.EllipticCurvePublicKey, subject: x509.Name, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_FIRST)
        .not_valid_after(_LAST)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
