"""Function keys: who may call what, with the levels of Azure.

    anonymous   everyone
    function    the host key, the function's own key, or the master key
    system      the system key (the durable management API), or the master key
    admin       the master key only

A key comes in the header `x-functions-key` or in the query as `code`.

Source: https://learn.microsoft.com/azure/azure-functions/function-keys-how-to
"""

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local.functions.files import replace_file
from shared.errors import ConfigurationError

Level = Literal["anonymous", "function", "system", "admin"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The app's keys; `functions` holds the keys of single functions, by name."""

    master: str
    host: str
    system: str
    functions: Mapping[str, str]

    def allow(self, level: Level, presented: str, function: str = "") -> bool:
        """Say whether a presented key opens this level. Takes the same time for every wrong key."""
        if level == "anonymous":
            return True
        accepted = [self.master]
        if level == "function":
            accepted += [self.host, self.functions.get(function, self.master)]
        elif level == "system":
            accepted.append(self.system)
        matches = [hmac.compare_digest(presented.encode(), key.encode()) for key in accepted]
        return any(matches)


def read_level(auth_level: object) -> Level:
    """Read the `authLevel` of an HTTP trigger; FUNCTION is the default, as in Azure."""
    match str(auth_level or "function").lower():
        case "anonymous":
            return "anonymous"
        case "admin":
            return "admin"
        case _:
            return "function"


def load_keys(path: Path) -> Keys:
    """Read the keys; make the file, or what is missing in it, readable by its owner only."""
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}", hint="Delete it, and new keys are made.") from error
    complete = {name: known.get(name) or secrets.token_urlsafe(40) for name in ("master", "host", "system")}
    functions = known.get("functions", {})
    if complete != {name: known.get(name) for name in complete}:
        replace_file(path, json.dumps(complete | {"functions": functions}, indent=2))
    return Keys(**complete, functions=functions)
