"""`python -m shared.transfer COMMAND …` is the mover."""

from .commands import main

if __name__ == "__main__":
    raise SystemExit(main())
