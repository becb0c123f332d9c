"""What the server is told: its settings, who may connect and how, and its certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from local.postgres.unprivileged import Account, give


@dataclass(frozen=True, slots=True)
class Configuration:
    """The numbers of a Flexible Server's tier, and what a test may want on top."""

    max_connections: int = 50  # B1ms
    reserved: int = 15
    # Not for users. Azure splits them in 10 for superusers and 5 for members of pg_use_reserved_connections.
    allowed_extensions: Sequence[str] | None = None
    # None: no allow-list is enforced.
    settings: Mapping[str, str] = field(default_factory=dict)
    host_names: Sequence[str] = ()
    # Names in the certificate besides 127.0.0.1 and localhost.

    def write(self, data: Path, account: Account) -> None:
        """Write the three configuration files into the data directory, replacing what initdb made."""
        lines = [f"{name} = '{value.replace("'", "''")}'\n" for name, value in self._values().items()]
        _write_for(account, data / "scaleout.conf", "".join(lines).encode())
        _write_for(account, data / "postgresql.conf", b"include = 'scaleout.conf'\n")
        _write_for(account, data / "pg_hba.conf", b"hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def write_certificate(self, data: Path, account: Account, authority_file: Path) -> None:
        """Make a certificate and the authority that signed it, on the first start."""
        if (data / "server.key").exists() and authority_file.exists():
            return
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost", *self.host_names)
        authority.cert_pem.write_to_path(str(authority_file))
        _write_for(account, data / "server.key", certificate.private_key_pem.bytes())
        _write_for(account, data / "server.crt", b"".join(blob.bytes() for blob in certificate.cert_chain_pems))

    def _values(self) -> dict[str, str]:
        superuser_reserved = self.reserved * 2 // 3
        allow_list = {} if self.allowed_extensions is None else {"azure.extensions": ",".join(self.allowed_extensions)}
        return {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # a socket's path has a length limit, and Azure has no sockets
            "max_connections": str(self.max_connections),
            "superuser_reserved_connections": str(superuser_reserved),
            "reserved_connections": str(self.reserved - superuser_reserved),
            "password_encryption": "scram-sha-256",
            "ssl": "on",
            "fsync": "off",  # survives the death of any process; not that of the machine, which a rehearsal need not
            "full_page_writes": "off",
            "shared_buffers": "128MB",
            "max_wal_size": "2GB",
            **allow_list,
            **self.settings,
        }


def _write_for(account: Account, path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
    give(path, account, mode=0o600)
