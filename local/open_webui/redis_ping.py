"""Ping Redis, in a few lines: a client library would be one dependency more for one word."""

import asyncio
import ssl
from urllib.parse import unquote, urlsplit

_SECONDS = 2.0


async def ping(url: str) -> None:
    """Raise OSError, TimeoutError or ValueError unless the Redis server answers."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "rediss" else None
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port or 6379, ssl=tls)
        try:
            if parts.password:
                words = [unquote(parts.username)] if parts.username else []
                await _say(reader, writer, "AUTH", *words, unquote(parts.password))
            await _say(reader, writer, "PING")
        finally:
            writer.close()


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str) -> None:
    encoded = [word.encode() for word in words]
    writer.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    await writer.drain()
    answer = await reader.readline()
    if not answer.startswith(b"+"):
        raise ValueError(f"Redis answered {answer!r}")
