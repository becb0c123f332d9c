"""The certificate of the kubelet's HTTPS server: from the cluster's own signer, from a file, or signed by nobody.

An API server with `--kubelet-certificate-authority` reads logs and passes exec on only to kubelets whose certificate
that authority signed; without the flag (kubeadm's default) it takes any. So the cluster is asked first, as a kubelet
with `serverTLSBootstrap` does, and we approve the request ourselves, with the rights of the kubeconfig.
Source: Kubernetes 1.36, pkg/apis/certificates/helpers.go, `ValidateKubeletServingCSR`.
"""

import asyncio
import base64
import contextlib
import ipaddress
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import aiohttp
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.kubernetes.kubelet.api import Api, ApiError, Object, ignoring
from local.kubernetes.kubelet.options import ADDRESS, Options

log = logging.getLogger(__name__)

_GROUP = "/apis/certificates.k8s.io/v1"
_REQUESTS = f"{_GROUP}/certificatesigningrequests"
_SIGNER = "kubernetes.io/kubelet-serving"
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Serving:
    """How the server proves who it is."""

    tls: ssl.SSLContext
    signed_by: str
    """`cluster`, `file` or `nobody`."""
    why: str = ""
    """Why the cluster did not sign it."""


class NotSigned(Exception):
    """The cluster gave no certificate; the text says why."""


async def obtain(api: Api, options: Options) -> Serving:
    """The given file, or what the cluster signs, or one that nobody signed; raises OSError for a file that is none."""
    if options.serving_certificate is not None:
        return Serving(_context(options.serving_certificate), "file")
    path = options.directory / "kubelet.pem"
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = await _from_cluster(api, options.node, key)
    except (NotSigned, ApiError, aiohttp.ClientError, TimeoutError) as error:
        log.warning("nobody signs the serving certificate: %s", error)
        return Serving(_self_signed(path, options.node), "nobody", str(error))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Serving(_context(_kept(path, private + certificate)), "cluster")


async def _from_cluster(api: Api, node: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Ask, approve, wait and tidy up; raises NotSigned, or ApiError where we may not."""
    try:
        await api.get(_GROUP)
    except ApiError as error:
        raise NotSigned("the cluster serves no certificates.k8s.io/v1") from error
    asked = await api.create(_REQUESTS, _request(node, key))
    path = f"{_REQUESTS}/{asked['metadata']['name']}"
    try:
        await _approve(api, path, asked)
        return await _signed(api, path)
    finally:
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            await api.delete(path)


def _request(node: str, key: ec.EllipticCurvePrivateKey) -> Object:
    """A kubelet's request: the node's identity as its subject, its name and address to be reached by."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    names = x509.SubjectAlternativeName([x509.DNSName(node), x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    usages = ["digital signature", "server auth"]
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": f"{node}-serving-"},
        "spec": {"request": base64.b64encode(pem).decode(), "signerName": _SIGNER, "usages": usages},
    }


async def _approve(api: Api, path: str, asked: Object) -> None:
    """Say yes to our own request; a cluster that approves by itself may have been quicker."""
    approved = {
        "type": "Approved",
        "status": "True",
        "reason": "Rehearsal",
        "message": "asked for and approved by the rehearsal's kubelet",
    }
    with ignoring(409):
        await api.request("PUT", f"{path}/approval", asked | {"status": {"conditions": [approved]}})


async def _signed(api: Api, path: str) -> bytes:
    end = monotonic() + _PATIENCE_SECONDS
    while monotonic() < end:
        status = (await api.get(path)).get("status") or {}
        if status.get("certificate"):
            return base64.b64decode(status["certificate"])
        refused = [one for one in status.get("conditions") or [] if one["type"] in ("Denied", "Failed")]
        if refused:
            raise NotSigned(f"the request was {refused[0]['type'].lower()}: {refused[0].get('message')}")
        await asyncio.sleep(0.2)
    raise NotSigned(f"no signer of {_SIGNER} answered within {_PATIENCE_SECONDS:g} s")


def _self_signed(path: Path, node: str) -> ssl.SSLContext:
    """Made anew at every start."""
    authority = trustme.CA(organization_name="local kubelet")
    issued = authority.issue_cert(ADDRESS, "localhost", node)
    return _context(_kept(path, issued.private_key_and_cert_chain_pem.bytes()))


def _kept(path: Path, pem: bytes) -> Path:
    """Write key and certificate where nobody else reads them: ssl takes files only."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path


def _context(pem: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context
