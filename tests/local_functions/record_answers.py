"""Ask an engine all cases, one after the other, and write down its answers:

    python tests/local_functions/record_answers.py ADDRESS OUT.json [NAME …]

A Functions host with `probe_app` must be at work on that engine.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import engine_cases_more
from engine_cases import CASES
from fix_engine_probe import Probed

__all__ = ["CASES", "engine_cases_more"]


def ask(engine: Probed, name: str, instance: str) -> list[Any]:
    """The answers of one case, with its id left out."""
    answers = [answer for answer in CASES[name](engine, instance) if answer is not None]
    found: list[Any] = json.loads(json.dumps(answers).replace(instance, "<id>"))
    return found


def main() -> None:
    engine, out = Probed(sys.argv[1]), Path(sys.argv[2])
    found = {}
    for number, name in enumerate(CASES):
        if sys.argv[3:] and name not in sys.argv[3:]:
            continue
        found[name] = ask(engine, name, f"p{number:02d}-{int(time.time()) % 100_000}")
        print(name, flush=True)
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
