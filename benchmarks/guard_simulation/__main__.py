"""`python -m benchmarks.guard_simulation`, the same as `python -m local guard-sim`."""

from benchmarks.guard_simulation import main

raise SystemExit(main())
