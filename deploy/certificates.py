"""The in-house certificate authority: ten years for the authority, 30 days for a leaf, renewed under ten days.

Files are written by rename, so that a server that re-reads them never meets half a file.
"""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 30
RENEW_UNDER_DAYS = 10
_BACKDATED = timedelta(minutes=5)  # so that a peer whose clock is a little behind accepts a new leaf


def make_authority(folder: Path, now: datetime | None = None) -> None:
    """Writes ca.pem and ca-key.pem into `folder`, unless they are there."""
    if (folder / "ca.pem").exists() and (folder / "ca-key.pem").exists():
        return
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Countersign internal CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / "ca-key.pem", _key_bytes(key), 0o400)
    write_private(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o444)


def make_leaf(
    authority: Path,
    folder: Path,
    names: list[str],
    now: datetime | None = None,
    *,
    days: int = LEAF_DAYS,
    renew_under_days: int = RENEW_UNDER_DAYS,
    key_mode: int = 0o400,
) -> bool:
    """Writes ca.pem, cert.pem and key.pem for a service with these DNS names, unless a good one is there.

    Answers whether it wrote: where none was there, under `renew_under_days` were left, or another authority signed.
    """
    now = now or datetime.now(UTC)
    ca_bytes = (authority / "ca.pem").read_bytes()
    if not _needs_leaf(folder, ca_bytes, names, now + timedelta(days=renew_under_days)):
        return False
    ca = x509.load_pem_x509_certificate(ca_bytes)
    ca_key = serialization.load_pem_private_key((authority / "ca-key.pem").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - max(_BACKDATED, timedelta(days=-days) + _BACKDATED))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "ca.pem", ca_bytes, 0o444)
    write_private(folder / "key.pem", _key_bytes(key), key_mode)
    write_private(folder / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o444)
    return True


def write_private(path: Path, content: bytes, mode: int = 0o400) -> None:
    """Writes `path` in one step with `mode`: never half a file, never readable by more than it should be."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(mode)
    draft.replace(path)


def _needs_leaf(folder: Path, ca_bytes: bytes, names: list[str], good_until: datetime) -> bool:
    try:
        if (folder / "ca.pem").read_bytes() != ca_bytes or not (folder / "key.pem").exists():
            return True
        leaf = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
        carried = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return True
    return leaf.not_valid_after_utc < good_until or carried.get_values_for_type(x509.DNSName) != names


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
