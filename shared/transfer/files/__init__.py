"""Uploads, cache and the archive of the store. No vector."""
