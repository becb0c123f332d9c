"""What a user of Open WebUI does: sign in, connect, upload, and then look, ask and chat with pauses between.

Paths, bodies and their order are those of Open WebUI's own page. A page that is loaded opens a new connection, as a
browser does after a while, so that a user meets every replica.

Source: Open WebUI 0.12.4, routers/auths.py, chats.py, files.py, retrieval.py and main.py (chat/completions).
"""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any, ClassVar

import gevent
from locust import FastHttpUser, between, task
from locust.exception import StopUser

from .accounts import Account
from .sockets import MODEL, Socket

DOCUMENT = "The moon goes round the earth in a month. The earth goes round the sun in a year. "
QUESTIONS = ("how long is a month", "what goes round the sun", "where does the moon go", "what takes a year")
PROCESSED_SECONDS = 60


class Visitor(FastHttpUser):
    """One user. `prepare` says whom to be before the test begins."""

    wait_time = between(2, 8)
    """Seconds between two actions: a reader, not a script."""
    abstract = True
    accounts: ClassVar["itertools.cycle[Account]"]
    password: ClassVar[str]
    marker: ClassVar[str]
    """Stands in the query of every request, so that the pods' access logs tell who served it."""
    chats: ClassVar[bool] = True
    """Whether Open WebUI lets a browser bring a model of its own."""

    def on_start(self) -> None:
        self.account = next(self.accounts)
        self.token, self.collection, self.uploads = "", "", 0
        self.socket: Socket | None = None
        self._sign_in()
        self._connect()
        self._new_chat()
        self.upload()

    def on_stop(self) -> None:
        if self.socket is not None:
            self.socket.close()

    @task(5)
    def open_page(self) -> None:
        """The page with the list of chats, over a new connection."""
        self.client.client.clientpool.close()
        self._ask("list chats", "GET", "/api/v1/chats/?page=1")
        if self.socket is None or not self.socket.connected:
            self._connect()

    @task(4)
    def search(self) -> None:
        """A question to the user's own document: embedded, and searched for in the vector store."""
        if not self.collection:
            return
        question = QUESTIONS[int(time.time()) % len(QUESTIONS)]
        body = {"collection_names": [self.collection], "query": question, "k": 3}
        self._ask("retrieval query", "POST", "/api/v1/retrieval/query/collection", body, check=_found)

    @task(2)
    def chat(self) -> None:
        """A completion by the stub model, through the user's own socket."""
        if not self.chats or self.socket is None or not self.socket.connected:
            return
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": MODEL["id"], "model_item": MODEL, "messages": messages, "stream": False}
        self._ask("chat", "POST", "/api/chat/completions", body | {"session_id": self.socket.session}, check=_answered)

    @task(1)
    def upload(self) -> None:
        """A small text, which Open WebUI stores, cuts and embeds."""
        self.uploads += 1
        name = f"{self.account.name}-{self.uploads}.txt"
        boundary = f"scaleout{self.uploads:08d}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = f"{head}Content-Type: text/plain\r\n\r\n{DOCUMENT * 20}{name}\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._ask("upload", "POST", "/api/v1/files/", body, kind=kind)
        if answer is not None and self._is_processed(answer["id"]):
            self.collection = f"file-{answer['id']}"

    def _sign_in(self) -> None:
        credentials = {"email": self.account.email, "password": self.password}
        answer = self._ask("sign in", "POST", "/api/v1/auths/signin", credentials, check=_signed_in)
        if answer is None or not answer.get("token"):
            raise StopUser
        self.token = answer["token"]

    def _new_chat(self) -> None:
        chat = {"title": "Scaleout load test", "models": [MODEL["id"]], "messages": [], "history": {"messages": {}}}
        self._ask("new chat", "POST", "/api/v1/chats/new", {"chat": chat})

    def _connect(self) -> None:
        socket = Socket(str(self.host), self.token)
        began, error = time.perf_counter(), None
        try:
            socket.open()
            self.socket = socket
        except Exception as failed:  # whatever a socket raises, the user goes on without one
            error = failed
        self.environment.events.request.fire(
            request_type="WS",
            name="websocket",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=error,
            context={},
        )

    def _is_processed(self, file: str) -> bool:
        """Wait until the upload can be searched: Open WebUI embeds it after its answer."""
        end = time.monotonic() + PROCESSED_SECONDS
        while time.monotonic() < end:
            answer = self._ask("upload status", "GET", f"/api/v1/files/{file}/process/status", check=_not_failed)
            if answer is None or answer["status"] == "completed":
                return answer is not None
            gevent.sleep(1)
        return False

    def _ask(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        check: Callable[[Any], str] | None = None,
    ) -> Any:
        """The parsed answer; None, and counted as a failure, when it is none or not what was asked for."""
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        data: Any = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        marked = f"{path}{'&' if '?' in path else '?'}{self.marker}"
        with self.client.request(
            method, marked, name=name, data=data, headers=headers, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code} {(response.text or '')[:120]}")
                return None
            answer = response.json()
            if problem := check(answer) if check else "":
                response.failure(problem)
                return None
            return answer


def _not_failed(answer: Any) -> str:
    """An upload is pending, processing, and then completed or failed."""
    return "the upload could not be processed" if answer["status"] == "failed" else ""


def _signed_in(answer: Any) -> str:
    return "" if answer and answer.get("token") else "no token: is a second factor asked for?"


def _found(answer: Any) -> str:
    """An empty answer is a failed search: Open WebUI swallows the vector store's errors. Source: facts §2."""
    return "" if answer and answer.get("documents") and answer["documents"][0] else "nothing was found"


def _answered(answer: Any) -> str:
    return "" if answer and answer.get("choices") else "no choice in the completion"
