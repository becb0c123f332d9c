"""What the app's folder and the environment say: host.json, local.settings.json and which functions are disabled."""

import functools
import json
import os
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

OVERRIDE = "AzureFunctionsJobHost__"


def read_host_settings(app: Path) -> dict[str, Any]:
    """Read host.json, with what the environment overrides in it. Raises ConfigurationError.

    Source: https://learn.microsoft.com/azure/azure-functions/functions-host-json, "Override host.json values".
    """
    try:
        found = json.loads((app / "host.json").read_text())
    except (OSError, ValueError) as error:
        hint = "--app must name the folder that is deployed: the one with host.json and function_app.py."
        raise ConfigurationError(f"host.json in {app} cannot be read: {error}", hint=hint) from error
    for name, value in os.environ.items():
        if name.startswith(OVERRIDE):
            *path, last = name.removeprefix(OVERRIDE).split("__")
            functools.reduce(lambda inner, key: inner.setdefault(key, {}), path, found)[last] = value
    return dict(found)


def load_settings(app: Path) -> None:
    """Take the Values of local.settings.json into the environment, which wins; as the Core Tools do."""
    path = app / "local.settings.json"
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text()).get("Values", {})
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    for name, value in values.items():
        os.environ.setdefault(name, str(value))


def is_disabled(name: str) -> bool:
    """Say whether a setting disables a function.

    Source: https://learn.microsoft.com/azure/azure-functions/disable-function; double underscores are how Linux writes
    the dots.
    """
    keys = (f"AzureWebJobs.{name}.Disabled", f"AzureWebJobs__{name}__Disabled")
    return any(os.environ.get(key, "").strip().lower() in ("true", "1") for key in keys)
