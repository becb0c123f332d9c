"""One process: the store, the API over TLS and the controllers, on one event loop."""

import asyncio
import signal
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from local.kubernetes.api_server.access import DenyRule, Grant, Tokens, Users
from local.kubernetes.api_server.kubelet_proxy import KubeletProxy
from local.kubernetes.api_server.rest import RestApi
from local.kubernetes.controllers import manager
from local.kubernetes.identity import HOST, Identity, write_private
from local.kubernetes.model.kinds import NAMESPACES
from local.kubernetes.registry.registry import Registry, Writer
from local.kubernetes.registry.store import Key, Store

_INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass(frozen=True, slots=True)
class Settings:
    """How the cluster is run."""

    folder: Path
    """Where its state, certificates and kubeconfigs are."""
    port: int = 0
    """0: the port of the last time, or any free one."""
    denied: tuple[DenyRule, ...] = ()
    """What the user of `kubeconfig-limited` may not do."""
    granted: tuple[Grant, ...] | None = None
    """All that he may do; None: everything."""
    timing: manager.Timing = field(default_factory=manager.Timing)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"


class Server:
    """The running cluster. `start` returns once it serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._identity_file = settings.folder / "identity.json"
        self._identity = Identity.load_or_create(self._identity_file)
        self._registry = Registry(Store(settings.folder / "state.db"))
        self.url = ""

    async def start(self) -> None:
        identity = self._identity
        for name in _INITIAL_NAMESPACES:
            if self._registry.store.get(Key(NAMESPACES, "", name)) is None:
                self._registry.create(NAMESPACES, "", {"metadata": {"name": name}}, Writer("kube-apiserver"))
        tokens = Tokens(identity.admin_token, identity.limited_token)
        users = Users.of(tokens, self._settings.denied, self._settings.granted)
        self._kubelets = KubeletProxy(self._registry.store)
        application = RestApi(self._registry, users, self._kubelets).application()
        # A watch without news would not notice that its client has gone; cancelling it does.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
        await self._runner.setup()
        port = await self._listen(identity.ssl_context(self._settings.folder))
        self._remember(port)
        self._controllers = manager.start(self._registry, self._kubelets, self._settings.timing)

    async def _listen(self, tls: ssl.SSLContext) -> int:
        """Listen on the wanted port; on that of the last time if it is free; on any."""
        wanted = [self._settings.port] if self._settings.port else [self._identity.port, 0]
        for port in wanted[:-1]:
            with suppress(OSError):
                return await self._bind(port, tls)
        return await self._bind(wanted[-1], tls)

    async def _bind(self, port: int, tls: ssl.SSLContext) -> int:
        site = web.TCPSite(self._runner, HOST, port, ssl_context=tls)
        await site.start()
        bound: int = self._runner.addresses[-1][1]
        return bound

    def _remember(self, port: int) -> None:
        identity = replace(self._identity, port=port)
        identity.save(self._identity_file)
        self.url = f"https://{HOST}:{port}"
        kubeconfig = self._settings.kubeconfig
        write_private(kubeconfig, identity.kubeconfig(port, "admin", identity.admin_token))
        limited = kubeconfig.with_name("kubeconfig-limited")
        write_private(limited, identity.kubeconfig(port, "limited", identity.limited_token))

    async def stop(self) -> None:
        await self._controllers.stop()
        await self._runner.cleanup()
        await self._kubelets.close()
        self._registry.store.close()


def erase(folder: Path) -> None:
    """Forget everything but the folder: the objects, the certificates, the kubeconfigs."""
    for name in ("state.db", "state.db-wal", "state.db-shm", "identity.json", "server.pem"):
        (folder / name).unlink(missing_ok=True)
    for name in ("kubeconfig", "kubeconfig-limited"):
        (folder / name).unlink(missing_ok=True)


async def until_terminated() -> None:
    """Wait for SIGTERM or SIGINT."""
    terminated = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminated.set)
    await terminated.wait()
