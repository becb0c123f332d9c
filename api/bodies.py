"""What an operator says to a run: read strictly, so that nothing is taken for what it does not say. Pure.

An approval is one only where it says `"approved": true`, and where a phase asks for a name it must name it.
"""

import json
from typing import Any

from shared.model.request_parsing import InvalidRequest
from shared.wire import JsonObject

LONGEST_REASON = 500
LONGEST_BODY_BYTES = 1 << 20

FIELDS = {"approve": {"approved", "disk", "reason"}}
"""Of an action's body, where it may hold more than a reason."""


def read_json(raw: bytes) -> Any:
    """The body as JSON: an empty object where there is none. InvalidRequest when it is not JSON, or no sane one."""
    if not raw.strip():
        return {}
    if len(raw) > LONGEST_BODY_BYTES:
        raise InvalidRequest([f"the body has {len(raw):,} bytes; at most {LONGEST_BODY_BYTES:,} are read"])
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(body, ensure_ascii=False).encode()  # lone surrogates could be neither stored nor answered
    except RecursionError:
        raise InvalidRequest(["the body is nested too deeply"]) from None
    except ValueError as error:
        raise InvalidRequest([f"the body is not JSON: {_why(error)}"]) from None
    return body


def read_order(action: str, body: Any, *, names: str = "") -> JsonObject:
    """What the run is told. `names`: what an approval must name as `disk`. InvalidRequest lists every problem."""
    if not isinstance(body, dict):
        raise InvalidRequest(["the body must be a JSON object"])
    allowed = FIELDS.get(action, {"reason"})
    problems = [f"unknown field {key!r}" for key in body if key not in allowed]
    problems += _reason_problems(body.get("reason"))
    if action == "approve":
        problems += _approval_problems(body, names)
    if problems:
        raise InvalidRequest(problems)
    return {"reason": f"{action} by an operator"} | body


def _approval_problems(body: JsonObject, names: str) -> list[str]:
    if not isinstance(body.get("approved"), bool):
        return ['approved must be there and true or false, as in {"approved": true}']
    if not isinstance(body.get("disk", ""), str):
        return ["disk must be the name of a volume"]
    if body["approved"] and names and body.get("disk") != names:
        return [f'disk must name what is deleted for good, as in {{"approved": true, "disk": "{names}"}}']
    return []


def _reason_problems(reason: Any) -> list[str]:
    if reason is None or (isinstance(reason, str) and 0 < len(reason) <= LONGEST_REASON):
        return []
    return [f"reason must be a text of at most {LONGEST_REASON} characters"]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _why(error: ValueError) -> str:
    return str(error)[:100] if not isinstance(error, UnicodeError) else "it is not valid Unicode"
