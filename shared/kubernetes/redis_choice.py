"""Which Redis the replicas share: the one that Open WebUI already has, else one of ours. Pure.

Source: Open WebUI 0.12.4, env.py: REDIS_URL, by default empty; WEBSOCKET_REDIS_URL, by default REDIS_URL;
WEBSOCKET_MANAGER, by default empty, and then each process keeps its websockets to itself (socket/main.py).
"""

from collections.abc import Collection

NAMES = ("REDIS_URL", "WEBSOCKET_REDIS_URL", "WEBSOCKET_MANAGER")


def url_of(service: str) -> str:
    """Where ours listens."""
    return f"redis://{service}:6379/0"


def needs_redis(names: Collection[str]) -> bool:
    """Whether there is none yet. `names`: the variables that have a value."""
    return "REDIS_URL" not in names and "WEBSOCKET_REDIS_URL" not in names


def redis_variables(names: Collection[str], url: str) -> dict[str, str]:
    """What is missing for all replicas to share one Redis; `url` leads to ours, for where there is none."""
    manager = {} if "WEBSOCKET_MANAGER" in names else {"WEBSOCKET_MANAGER": "redis"}
    if needs_redis(names):
        return {"REDIS_URL": url, **manager, "WEBSOCKET_REDIS_URL": url}
    if "REDIS_URL" not in names:
        return {"REDIS_URL": "$(WEBSOCKET_REDIS_URL)", **manager}
    if "WEBSOCKET_REDIS_URL" not in names:  # where it is there and empty it would win
        return {"WEBSOCKET_REDIS_URL": "$(REDIS_URL)", **manager}
    return manager
