"""The certificate authority of this directory and the certificate of every host that is answered here."""

import ssl
from pathlib import Path

import trustme

HOSTS = ("management.azure.com", "*.vault.azure.net")


def server_context(directory: Path) -> ssl.SSLContext:
    """A TLS context for all hosts, signed by the directory's authority, which is made on first use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority(directory).issue_cert(*HOSTS).configure_cert(context)
    return context


def authority_file(directory: Path) -> Path:
    """What clients must trust: the authority's certificate, and no other."""
    return directory / "ca.pem"


def _authority(directory: Path) -> trustme.CA:
    key_file = directory / "ca.key"
    if key_file.exists():
        return trustme.CA.from_pem(authority_file(directory).read_bytes(), key_file.read_bytes())
    authority = trustme.CA()
    key_file.touch(mode=0o600)
    authority.private_key_pem.write_to_path(str(key_file))
    authority.cert_pem.write_to_path(str(authority_file(directory)))
    return authority
