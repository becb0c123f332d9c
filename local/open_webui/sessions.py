"""Tokens signed with `WEBUI_SECRET_KEY`: replicas with different keys refuse each other's, as the real ones do."""

import hashlib
import hmac
import secrets

_MARK = "standin"


class Signer:
    """Issues and checks this process's tokens."""

    def __init__(self, secret_key: str) -> None:
        self._key = (secret_key or secrets.token_hex(16)).encode()

    def issue(self, user: str) -> str:
        return f"{_MARK}.{user}.{self._sign(user)}"

    def accepts(self, authorization: str) -> bool:
        """Accept anything but a token of another key."""
        token = authorization.removeprefix("Bearer ")
        return not token.startswith(f"{_MARK}.") or self.user_of(token) is not None

    def user_of(self, token: str) -> str | None:
        """The user of a token that this key signed; None for any other."""
        mark, _, rest = token.partition(".")
        user, _, signature = rest.rpartition(".")
        return user if mark == _MARK and hmac.compare_digest(signature, self._sign(user)) else None

    def _sign(self, user: str) -> str:
        return hmac.new(self._key, user.encode(), hashlib.sha256).hexdigest()
