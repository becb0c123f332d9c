"""The migration: a module, or a package, for each phase. Which come in which order, and how they run: `run`."""
