"""What the application's own tables know about collections."""

from collections.abc import Sequence

import psycopg

# Source: open_webui/models/{files,knowledge,users}.py; collections are named after these ids.
_OWNERS = (("file-", "file"), ("user-memory-", '"user"'), ("", "knowledge"))


def list_orphans(connection: "psycopg.Connection", names: Sequence[str]) -> list[str]:
    """Return the collections whose file, user or knowledge base no longer exists; web searches and `knowledge-bases`
    belong to nobody."""
    left = [name for name in names if not name.startswith("web-search-") and name != "knowledge-bases"]
    orphans = []
    for prefix, table in _OWNERS:
        mine = [name for name in left if name.startswith(prefix)]
        left = [name for name in left if not name.startswith(prefix)]
        row = connection.execute("select to_regclass(%s) is not null", (table,)).fetchone()
        if not mine or not (row and row[0]):
            continue
        ids = [name[len(prefix) :] for name in mine]
        known = {one for (one,) in connection.execute(f"select id from {table} where id = any(%s)", (ids,))}
        orphans += [name for name, one in zip(mine, ids, strict=True) if one not in known]
    return sorted(orphans)
