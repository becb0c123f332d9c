"""`python -m shared.transfer COMMAND …` is the mover."""

from .mover import main

if __name__ == "__main__":
    raise SystemExit(main())
