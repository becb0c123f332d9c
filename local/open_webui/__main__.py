"""`python -m local.open_webui`: check what Open WebUI checks at start, then serve; prints `ready {"port": …}`."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from contextlib import AsyncExitStack
from http import HTTPStatus

import psycopg
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from local.open_webui.accounts import Accounts
from local.open_webui.app import App
from local.open_webui.chats import Chats
from local.open_webui.files import Files
from local.open_webui.pools import Engines, misbehave, open_engines
from local.open_webui.sessions import Signer
from local.open_webui.settings import VERSION, Settings, StartError, read_settings
from local.open_webui.sockets import Sockets
from local.open_webui.startup import prepare_database
from local.open_webui.vector_stores import ChromaStore, PgvectorStore, VectorStore

log = logging.getLogger("open_webui")


class UvicornLikeLogger(AbstractAccessLogger):
    """Writes requests as uvicorn does."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        status = f"{response.status} {HTTPStatus(response.status).phrase}"
        self.logger.info('%s - "%s %s HTTP/1.1" %s', request.remote, request.method, request.path_qs, status)


async def serve(settings: Settings) -> None:
    """Start as Open WebUI does and serve until SIGTERM. Raises StartError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if settings.misbehaviour.fail_start:
        raise StartError(settings.misbehaviour.fail_start)
    await asyncio.sleep(settings.misbehaviour.start_seconds)
    for folder in ("uploads", "cache", "vector_db"):
        (settings.data_directory / folder).mkdir(parents=True, exist_ok=True)
    settings.static_directory.mkdir(parents=True, exist_ok=True)
    await prepare_database(settings)
    async with AsyncExitStack() as stack:
        engines = await open_engines(settings, stack)
        store = _store(settings, engines)
        app = make_app(settings, engines, store)
        stack.push_async_callback(app.sockets.close)
        runner = web.AppRunner(
            app.application(), access_log_class=UvicornLikeLogger, access_log=log, shutdown_timeout=5
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, settings.host, settings.port).start()
        await misbehave(settings, settings.misbehaviour, stack)
        app.started = True
        log.info("Open WebUI %s (stand-in) serves from %s", VERSION, store.name)
        print("ready " + json.dumps({"port": settings.port}), flush=True)
        await stop.wait()


def make_app(settings: Settings, engines: Engines, store: VectorStore) -> App:
    pool, signer = engines.asynchronous, Signer(settings.secret_key)
    accounts = Accounts(pool, signer)
    files, sockets = Files(settings, pool, store), Sockets(settings, accounts)
    return App(settings, engines, store, files, signer, accounts, Chats(pool, accounts), sockets)


def _store(settings: Settings, engines: Engines) -> VectorStore:
    if engines.pgvector is not None:
        return PgvectorStore(engines.pgvector, settings)
    return ChromaStore(settings.data_directory / "vector_db")


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m local.open_webui",
        description="A stand-in for Open WebUI; it is configured by Open WebUI's own environment variables.",
    ).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s", stream=sys.stdout)
    try:
        asyncio.run(serve(read_settings()))
    except (StartError, psycopg.Error, OSError) as error:
        log.error("Application startup failed: %s", str(error).strip())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
