"""`python -m local.guard_sim`, the same as `python -m local guard-sim`."""

from local.guard_sim import main

raise SystemExit(main())
