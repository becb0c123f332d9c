"""Fixtures that every area's tests may ask for."""

pytest_plugins = ["tests.fix_postgres"]
