"""How the guard's ticks go: orchestration, entity, activities. What it decides and why: `shared.guard`."""
