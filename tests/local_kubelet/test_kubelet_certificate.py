"""The serving certificate: asked for as a real signer wants it; without one, and why."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from local.kubernetes.kubelet.api import Api, read_kubeconfig
from local.kubernetes.kubelet.options import Options
from local.kubernetes.kubelet.serving.serving_certificate import Serving, obtain
from tests.local_kubelet.test_kubelet_api import kubeconfig, served

ROOT = "/apis/certificates.k8s.io/v1"
REQUESTS = f"{ROOT}/certificatesigningrequests"


class Signer:
    """The CSR API with the built-in signer of kubelet-serving.

    Source: Kubernetes 1.36, pkg/apis/certificates/helpers.go, ValidateKubeletServingCSR.
    """

    def __init__(self, refuses: Callable[[web.Request], web.Response | None] = lambda _: None) -> None:
        self.refuses = refuses
        self.authority = trustme.CA()
        self.object: dict[str, Any] = {}
        self.log: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.log.append(f"{request.method} {request.path}")
        if refusal := self.refuses(request):
            return refusal
        if request.method == "POST":
            body = await request.json()
            self.object = body | {"metadata": {"name": body["metadata"]["generateName"] + "abcde"}}
        elif request.method == "PUT":
            conditions = (await request.json())["status"]["conditions"]
            assert [(one["type"], one["status"]) for one in conditions] == [("Approved", "True")]
            self.object["status"] = {"conditions": conditions, "certificate": self.sign()}
        return web.json_response(self.object)

    def sign(self) -> str:
        spec = self.object["spec"]
        assert spec["signerName"] == "kubernetes.io/kubelet-serving"
        assert set(spec["usages"]) == {"digital signature", "server auth"}
        asked = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
        assert asked.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["node-1"]
        key = load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self.authority.cert_pem.bytes()).subject
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(issuer, asked.subject, asked.public_key(), 7, now, now + timedelta(days=1))
        signed = builder.add_extension(names.value, critical=False).sign(key, hashes.SHA256())  # type: ignore[arg-type]
        return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def ask(signer: Signer, folder: Path, given: Path | None = None) -> Serving:
    async def run() -> Serving:
        runner, port = await served(signer.answer)
        try:
            async with Api(read_kubeconfig(kubeconfig(folder, f"http://127.0.0.1:{port}", {"token": "t"}))) as api:
                return await obtain(api, Options("node-1", folder, Path("python"), serving_certificate=given))
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_the_cluster_signs_it_and_the_request_is_tidied_up(tmp_path: Path) -> None:
    signer = Signer()
    assert (found := ask(signer, tmp_path)).signed_by == "cluster", found.why
    assert signer.log[-1] == f"DELETE {REQUESTS}/node-1-serving-abcde"
    pem = tmp_path / "kubelet.pem"
    assert pem.stat().st_mode & 0o077 == 0
    issued = x509.load_pem_x509_certificate(pem.read_bytes())
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(signer.authority.cert_pem.bytes()))


def forbidden(method: str) -> Callable[[web.Request], web.Response | None]:
    status = {"kind": "Status", "reason": "Forbidden", "message": f"may not {method}"}
    return lambda request: web.json_response(status, status=403) if request.method == method else None


def not_served(_: web.Request) -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


@pytest.mark.parametrize(
    ("refuses", "why"),
    [
        (not_served, "the cluster serves no certificates.k8s.io/v1"),
        (forbidden("POST"), "403 Forbidden: may not POST"),
        (forbidden("PUT"), "403 Forbidden: may not PUT"),
    ],
)
def test_where_it_may_not_nobody_signs_it_and_it_says_why(
    tmp_path: Path, refuses: Callable[[web.Request], web.Response | None], why: str
) -> None:
    signer = Signer(refuses)
    found = ask(signer, tmp_path)
    assert (found.signed_by, found.why) == ("nobody", why)
    assert bool(signer.object) == (f"DELETE {REQUESTS}/node-1-serving-abcde" in signer.log)


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ([], "no signer of kubernetes.io/kubelet-serving answered"),
        ([{"type": "Failed", "message": "usages did not match"}], "the request was failed: usages did not match"),
    ],
)
def test_a_signer_that_is_silent_or_refuses_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: list[dict[str, str]], why: str
) -> None:
    class Silent(Signer):
        async def answer(self, request: web.Request) -> web.Response:
            if request.method == "PUT":
                self.object["status"] = {"conditions": conditions}
                return web.json_response(self.object)
            return await super().answer(request)

    monkeypatch.setattr("local.kubernetes.kubelet.serving.serving_certificate._PATIENCE_SECONDS", 0.3)
    assert why in ask(Silent(), tmp_path).why


def test_a_given_one_is_used_and_the_cluster_is_not_asked(tmp_path: Path) -> None:
    given = tmp_path / "given.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(given))
    signer = Signer()
    assert ask(signer, tmp_path, given).signed_by == "file"
    assert signer.log == []
