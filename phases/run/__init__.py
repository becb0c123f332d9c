"""How any run goes: order, orchestrator, undo, activities, status. Nothing that only one phase knows."""
