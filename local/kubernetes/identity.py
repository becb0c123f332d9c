"""The server's certificate authority and its users' tokens: made once, kept in the cluster's folder."""

import base64
import json
import secrets
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path

import trustme
import yaml

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes this cluster itself; losing it means that no kubeconfig works any more."""

    ca_certificate: str
    server_certificate: str
    server_key: str
    admin_token: str
    limited_token: str
    port: int = 0
    """The port served last, taken again after a restart so that kubeconfigs stay valid."""

    @classmethod
    def create(cls) -> "Identity":
        authority = trustme.CA(organization_name="scaleout rehearsal")
        server = authority.issue_cert(HOST, "localhost")
        return cls(
            ca_certificate=authority.cert_pem.bytes().decode(),
            server_certificate="".join(blob.bytes().decode() for blob in server.cert_chain_pems),
            server_key=server.private_key_pem.bytes().decode(),
            admin_token=secrets.token_urlsafe(24),
            limited_token=secrets.token_urlsafe(24),
        )

    @classmethod
    def load_or_create(cls, file: Path) -> "Identity":
        if file.exists():
            return cls(**json.loads(file.read_text()))
        identity = cls.create()
        identity.save(file)
        return identity

    def save(self, file: Path) -> None:
        write_private(file, json.dumps(asdict(self)))

    def ssl_context(self, folder: Path) -> ssl.SSLContext:
        """Return the server's TLS context. OpenSSL reads certificates only from files, hence the folder."""
        certificate = folder / "server.pem"
        write_private(certificate, self.server_key + self.server_certificate)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        return context

    def kubeconfig(self, port: int, user: str, token: str, namespace: str = "default") -> str:
        cluster = {"server": f"https://{HOST}:{port}", "certificate-authority-data": _base64(self.ca_certificate)}
        context = {"cluster": "local", "user": user, "namespace": namespace}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "local", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "local", "context": context}],
                "current-context": "local",
            },
            sort_keys=False,
        )


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    draft = file.with_name(f".{file.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(file)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
