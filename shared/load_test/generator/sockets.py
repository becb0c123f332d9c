"""A user's websocket to Open WebUI, as the browser keeps one, and the stub model that answers through it.

Open WebUI lets a browser bring a model of its own (a direct connection): the completion request names the socket, and
the replica that got the request asks the model through that socket, wherever it is connected. Here the model is these
few lines. So a chat goes all the way through Open WebUI and between its replicas, no language model's speed is
measured, and nobody's models or connections are touched.

Source: Open WebUI 0.12.4, socket/main.py (connect, user-join) and utils/chat.py (generate_direct_chat_completion).
"""

from typing import Any

import socketio

PATH = "/ws/socket.io"
MODEL: dict[str, Any] = {
    "id": "scaleout-load-test",
    "name": "Scaleout load test",
    "object": "model",
    "owned_by": "openai",
    "direct": True,
}
ANSWER = "The stub model answers at once."
SECONDS = 20


class Socket:
    """One user's connection."""

    def __init__(self, url: str, token: str) -> None:
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        self._client.on("events", self._answer)
        self._url, self._token = url, token

    @property
    def session(self) -> str:
        """What Open WebUI knows this connection by."""
        return str(self._client.get_sid() or "")

    @property
    def connected(self) -> bool:
        return bool(self._client.connected)

    def open(self) -> None:
        """Connect and join; raises whatever the connection raises, and ValueError when the token is not accepted."""
        token = {"token": self._token}
        self._client.connect(self._url, auth=token, transports=["websocket"], socketio_path=PATH, wait_timeout=SECONDS)
        joined = self._client.call("user-join", {"auth": token}, timeout=SECONDS)
        if not joined:
            raise ValueError("the websocket did not accept the token")

    def close(self) -> None:
        self._client.disconnect()

    def _answer(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """What the stub model says when a replica asks; anything else needs no answer."""
        asked = event.get("data") or {}
        return completion() if asked.get("type") == "request:chat:completion" else None


def completion() -> dict[str, Any]:
    """A chat completion in OpenAI's form."""
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "stub", "object": "chat.completion", "created": 0, "model": MODEL["id"], "choices": [choice]}
