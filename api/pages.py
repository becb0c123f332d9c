"""The monitor page and the interface's description. Both are free of secrets and need no key; the page asks for one."""

import json
from pathlib import Path

import azure.functions as func

from api.openapi import document

PAGE = Path(__file__).with_name("monitor.html")


def monitor() -> func.HttpResponse:
    """A self-contained page that shows the runs."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return func.HttpResponse(PAGE.read_text(encoding="utf-8"), mimetype="text/html", headers=headers)


def openapi() -> func.HttpResponse:
    """OpenAPI 3.1."""
    return func.HttpResponse(json.dumps(document(), indent=1), mimetype="application/json")
