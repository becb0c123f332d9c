"""`GET /api/permissions`: what the app's identity can and cannot do, as JSON or, with `?as=text`, as a table.

What only an option wants is asked and told too, and `missing` leaves it out: most installations never need it.
"""

from collections.abc import Callable, Mapping, Sequence

import azure.functions as func

from api.migrations import answer
from phases.reading.permissions import Answer, check, missing
from shared.model.migration import Options, Target
from shared.model.ports import Ports
from shared.model.request_parsing import InvalidRequest, parse_request
from shared.wire import to_wire

LOAD_TEST_SECRET = "load_test_secret"  # noqa: S105 - the name of a parameter
OURS = frozenset({"code", "as", LOAD_TEST_SECRET})
WORDS = {True: "yes", False: "NO", None: "?"}


def show(req: func.HttpRequest, connect: Callable[[Target], Ports], defaults: Mapping[str, str]) -> func.HttpResponse:
    """200 with the answers, whatever they are; 400 with every mistake.

    The query's fields are those of `target`, and one of `options`.
    """
    given = {name: value for name, value in req.params.items() if name not in OURS}
    try:
        target = parse_request({"target": given}, defaults).target
    except InvalidRequest as error:
        return answer(400, {"error": error.message, "problems": error.problems, "hint": error.hint})
    answers = check(target, connect(target), req.params.get(LOAD_TEST_SECRET) or Options().load_test_secret)
    if req.params.get("as") == "text":
        return func.HttpResponse(table(answers), mimetype="text/plain", charset="utf-8")
    lacking = missing(answers)
    return answer(200, {"allowed": not lacking, "missing": lacking, "permissions": to_wire(answers)})


def table(answers: Sequence[Answer]) -> str:
    """One line an answer, and below a refusal what would lift it. Pure."""
    widths = [max(len(getattr(each, name)) for each in answers) for name in ("area", "what")]
    lines = []
    for each in answers:
        lines.append(
            f"{WORDS[each.allowed]:<4} {each.area:<{widths[0]}}  {each.what:<{widths[1]}}  {each.detail}".rstrip()
        )
        if each.allowed is False:
            lines.append(f"     → {each.needs}")
    return "\n".join(lines) + "\n"
