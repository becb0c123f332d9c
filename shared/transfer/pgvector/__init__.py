"""Open WebUI's table in PostgreSQL, its indexes and searches. Not what was copied into it: `ledger`."""
