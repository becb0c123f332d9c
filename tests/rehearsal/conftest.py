from tests.rehearsal.fix_world import app, world

__all__ = ["app", "world"]
