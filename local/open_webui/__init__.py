"""A small stand-in for Open WebUI 0.12, in one process. Nothing that the migration does not look at.

It does what the migration's phases, the guard and the prober look at, and no more. What differs from the real one:

- Anybody may do anything with files and queries. A token that it issued itself is refused when another secret signed
  it, so that replicas without one `WEBUI_SECRET_KEY` are noticed; every other token is accepted there. Users, chats,
  the search over several collections and completions want a token of their own user, or of an administrator.
- There is no embedding model. A query `id:<chunk id>` uses that chunk's stored vector; any other text is embedded by
  hashing its words, which is deterministic but not MiniLM. Uploads are embedded in the same way, before the answer.
- PostgreSQL only; no web pages; no model but one that a browser brings through its websocket.
- Passwords are hashed quickly, and those that came with the database are not looked at.

Variables that start with `STANDIN_` make it misbehave on purpose; `settings` lists them.
"""
