"""The run's own accounts and files in Open WebUI: made before the load, found again by their prefix, and removed.

Everything goes through Open WebUI's API as an administrator, so that it is removed as Open WebUI removes it: a user
with his chats, a file with its bytes and its chunks. Both steps can be repeated, at any point and by another process.

Source: Open WebUI 0.12.4, routers/auths.py (signin, add), routers/users.py (list, delete), routers/files.py (search,
delete).
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gevent.pool import Pool

AT_ONCE = 4
"""Requests of ours at a time: a password is hashed for every account, which costs the serving pods CPU."""
DOMAIN = "load.invalid"
"""Never a mailbox. Source: RFC 2606."""
FILES_A_PAGE = 500
NOT_FOUND, TAKEN = 404, 400


type Row = dict[str, Any]


class Refused(Exception):
    """Open WebUI did not do what it was asked to, or could not be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Account:
    """One test user. The password is the run's."""

    name: str

    @property
    def email(self) -> str:
        return f"{self.name}@{DOMAIN}"


def accounts_of(prefix: str, number: int) -> list[Account]:
    return [Account(f"{prefix}-{index:04d}") for index in range(number)]


@dataclass(frozen=True, slots=True)
class Administrator:
    """Open WebUI's API with an administrator's token."""

    url: str
    token: str

    @classmethod
    def sign_in(cls, url: str, credential: str) -> "Administrator":
        """`credential`: a token (an API key, a JWT) or `email:password`. Raises Refused, never with the credential."""
        email, colon, password = credential.strip().partition(":")
        token = credential.strip()
        if colon and "@" in email:
            token = sign_in(url, email, password)
        administrator = cls(url, token)
        administrator.find_users("-")  # only an administrator may: a wrong token is told before anything is made
        return administrator

    def add(self, account: Account, password: str) -> bool:
        """Make the account; False when an earlier attempt of this run has made it."""
        body = {"name": account.name, "email": account.email, "password": password, "role": "user"}
        try:
            self._ask("POST", "/api/v1/auths/add", body)
        except Refused as refused:
            if refused.status == TAKEN and any(u["email"] == account.email for u in self.find_users(account.name)):
                return False
            raise
        return True

    def find_users(self, prefix: str) -> list[Row]:
        """One page of the users whose address starts with this."""
        found = self._ask("GET", f"/api/v1/users/?{urllib.parse.urlencode({'query': prefix, 'page': 1})}")
        return [user for user in found["users"] if user["email"].startswith(prefix)]

    def find_files(self, prefix: str) -> list[Row]:
        """One page of the files whose name starts with this. None at all is a 404."""
        query = urllib.parse.urlencode({"filename": f"{prefix}*", "content": "false", "limit": FILES_A_PAGE})
        try:
            found = self._ask("GET", f"/api/v1/files/search?{query}")
        except Refused as refused:
            if refused.status == NOT_FOUND:
                return []
            raise
        return [file for file in found if file["filename"].startswith(prefix)]

    def delete(self, path: str) -> None:
        try:
            self._ask("DELETE", path)
        except Refused as refused:
            if refused.status != NOT_FOUND:  # somebody was faster
                raise

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return request(self.url, method, path, body=body, token=self.token)


def make(administrator: Administrator, accounts: Iterable[Account], password: str) -> Iterator[Account]:
    """Make the accounts that are missing; yields each when it is there."""
    for account, _ in Pool(AT_ONCE).imap_unordered(lambda one: (one, administrator.add(one, password)), accounts):
        yield account


def remove(administrator: Administrator, prefix: str, password: str) -> Iterator[tuple[int, int]]:
    """Remove files, then users; yields how many of each are gone. Raises Refused when something stays.

    Where an administrator is not shown what others own (BYPASS_ADMIN_ACCESS_CONTROL=false), every user removes his own.
    """
    files: set[str] = set()
    users: set[str] = set()
    hidden: bool | None = None
    while _delete_page(administrator, administrator.find_files(prefix), "files", files):
        yield len(files), len(users)
    while found := administrator.find_users(prefix):
        if hidden is None:
            hidden = bool(_own_files(administrator.url, found[0], prefix, password)[1])
        for user in found if hidden else ():
            owner, own = _own_files(administrator.url, user, prefix, password)
            _delete_page(owner, own, "files", files)
        _delete_page(administrator, found, "users", users)
        yield len(files), len(users)
    yield len(files), len(users)


def _own_files(url: str, user: Row, prefix: str, password: str) -> tuple[Administrator, list[Row]]:
    """A test user and what he is shown of the test's files: his own."""
    owner = Administrator(url, sign_in(url, str(user["email"]), password))
    return owner, owner.find_files(prefix)


def _delete_page(api: Administrator, found: list[Row], path: str, gone: set[str]) -> bool:
    """Delete these; whether there were any. What was deleted before and is still there would be deleted for ever."""
    page = {str(one["id"]) for one in found}
    if stays := page & gone:
        raise Refused(f"{len(stays)} {path} were deleted and are still there")
    for _ in Pool(AT_ONCE).imap_unordered(api.delete, [f"/api/v1/{path}/{one}" for one in page]):
        pass
    gone.update(page)
    return bool(page)


def sign_in(url: str, email: str, password: str) -> str:
    """A token; raises Refused, also where a second factor is asked for."""
    answer = request(url, "POST", "/api/v1/auths/signin", body={"email": email, "password": password})
    if not answer.get("token"):
        raise Refused(f"signing in as {email} gave no token: is a second factor asked for?")
    return str(answer["token"])


def request(url: str, method: str, path: str, *, body: Any = None, token: str = "") -> Any:
    """One call of the API. Raises Refused with what Open WebUI says."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url + path, data=data, headers=headers, method=method)  # noqa: S310
    what = f"{method} {path.partition('?')[0]}"
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise Refused(f"{what}: {error.code} {_detail(error.read())}", error.code) from error
    except (OSError, ValueError) as error:
        raise Refused(f"{what}: {error}") from error


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
