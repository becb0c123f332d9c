"""A small stand-in for Open WebUI 0.12: its variables, checks at start, connections, files and answers, in one process.

It does what the migration's phases, the guard and the prober look at, and no more. What differs from the real one:

- Anybody may do anything. A token that it issued itself is refused when another secret signed it, so that replicas
without one `WEBUI_SECRET_KEY` are noticed; every other token is accepted. - There is no embedding model. A query
`id:<chunk id>` uses that chunk's stored vector; any other text is embedded by hashing its words, which is
deterministic but not MiniLM. Uploads are embedded in the same way. - PostgreSQL only; no web pages, chats or models.

Variables that start with `STANDIN_` make it misbehave on purpose; `settings` lists them.
"""
