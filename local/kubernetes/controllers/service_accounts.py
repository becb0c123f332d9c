"""Every namespace has a service account named `default`, under which its pods run unless they name another."""

from collections.abc import Iterable
from datetime import timedelta

from local.kubernetes.controllers.ownership import MANAGER
from local.kubernetes.model.kinds import NAMESPACES, SERVICE_ACCOUNTS
from local.kubernetes.model.objects import is_terminating
from local.kubernetes.registry.registry import Registry, Writer
from local.kubernetes.registry.store import DELETED, Event, Key


class ServiceAccountController:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def affected(self, event: Event) -> Iterable[Key]:
        if event.resource is NAMESPACES:
            yield event.key
        elif event.resource is SERVICE_ACCOUNTS and event.type == DELETED:
            yield Key(NAMESPACES, "", event.key.namespace)

    def reconcile(self, key: Key) -> timedelta | None:
        namespace = self._registry.store.get(key)
        account = Key(SERVICE_ACCOUNTS, key.name, "default")
        if namespace and not is_terminating(namespace) and self._registry.store.get(account) is None:
            self._registry.create(SERVICE_ACCOUNTS, key.name, {"metadata": {"name": "default"}}, Writer(MANAGER))
        return None
