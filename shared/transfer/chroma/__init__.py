"""Chroma's store: read while it is written, written when it is stopped. Nothing of PostgreSQL."""
