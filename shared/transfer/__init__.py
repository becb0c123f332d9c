"""Moves Open WebUI's vectors from ChromaDB to PGVector and its files to a share, verified and resumable.

It runs in two places: inside the app (`shared.transfer`) and inside Open WebUI's own image, on Python 3.11, as a zipapp
whose top-level package is `transfer`. So it needs the standard library, numpy and psycopg, and imports only itself.
"""
