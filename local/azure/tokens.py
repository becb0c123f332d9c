"""Access tokens: issued by the identity endpoint, checked by the services.

They have the form of Entra's (a JWT with audience and expiry) and are signed with a secret of this directory, so a
forged or foreign token is refused, and one issued before a restart is still good after it.
"""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass

LIFETIME_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    secret: str
    tenant_id: str
    client_id: str

    def issue(self, resource: str, *, lifetime_seconds: int = LIFETIME_SECONDS) -> str:
        now = int(time.time())
        claims = {
            "aud": resource.rstrip("/"),
            "iss": f"https://sts.windows.net/{self.tenant_id}/",
            "iat": now,
            "exp": now + lifetime_seconds,
            "tid": self.tenant_id,
            "appid": self.client_id,
        }
        signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def refusal(self, token: str, resource: str) -> str:
        """Why this token is not good for this resource; empty when it is."""
        if not token:
            return "no token was given"
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(signed)):
            return "the token's signature is not valid"
        claims = json.loads(_decode(signed.partition(".")[2]))
        if claims["aud"] != resource.rstrip("/"):
            return f"the token is for {claims['aud']}"
        return "the token has expired" if claims["exp"] < time.time() else ""

    def _signature(self, signed: str) -> str:
        return _base64(hmac.digest(self.secret.encode(), signed.encode(), hashlib.sha256))


def _encode(content: dict[str, object]) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(content: str) -> bytes:
    return base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
