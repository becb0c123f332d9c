"""What the phases need from the world. Adapters implement it; phases know nothing else of Azure, Kubernetes or psycopg.

Every method raises only the errors of `shared.errors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.model.survey import ChunkTable, DatabaseAddress, DatabaseFacts, ServerFactsBrief

type Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command in a container left."""

    exit_code: int
    stdout: str
    stderr: str


class Cluster(Protocol):
    """One namespace of one Kubernetes cluster, and the cluster-scoped kinds beside it."""

    namespace: str

    def version(self) -> str:
        """The server's git version."""

    def read(self, kind: str, name: str) -> Manifest | None:
        """The object, or None when there is none."""

    def list(
        self, kind: str, labels: Mapping[str, str] | None = None, *, everywhere: bool = False
    ) -> Sequence[Manifest]:
        """The namespace's objects of this kind that carry all of these labels; those of all namespaces if wanted."""

    def apply(self, manifest: Manifest, *, force: bool = False) -> Manifest:
        """Server-side apply under our field manager; ConfigurationError lists the conflicts unless forced."""

    def dry_run(self, manifest: Manifest) -> Manifest:
        """What `apply` would leave, without doing it."""

    def patch(self, kind: str, name: str, patch: Manifest, *, dry_run: bool = False) -> Manifest:
        """Strategic merge patch (JSON merge patch for kinds that have no strategic keys)."""

    def replace(self, manifest: Manifest) -> Manifest:
        """Put the object back as given, whatever its resourceVersion is now."""

    def scale(self, deployment: str, replicas: int) -> None:
        """Set the replica count through the scale subresource."""

    def delete(self, kind: str, name: str) -> None:
        """Delete with its dependents; absent is fine."""

    def logs(self, pod: str, container: str, *, tail_lines: int | None = None, since_seconds: int | None = None) -> str:
        """The log of one container of the pod."""

    def execute(
        self, pod: str, container: str, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60
    ) -> Completed:
        """Run a command in a container; it may read exactly len(stdin) bytes (its input is not closed)."""

    def serves(self, group: str) -> bool:
        """Whether the API server offers this group, such as `metrics.k8s.io`."""

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespaced: bool = True) -> bool:
        """Whether our identity may do this (SelfSubjectAccessReview)."""


class Database(Protocol):
    """Open WebUI's database, as its administrator."""

    def read_facts(self, role: str) -> DatabaseFacts:
        """Versions, limits, extensions and `document_chunk`; `role` is the application's."""

    def read_chunk_table(self) -> ChunkTable | None:
        """`document_chunk` now."""

    def enable_extension(self, name: str) -> None:
        """Create it, or bring it to the version that the server has."""

    def drop_extension(self, name: str) -> None:
        """Drop it when nothing depends on it."""

    def drop_empty_chunk_table(self) -> bool:
        """Drop `document_chunk` unless it holds a row; whether it is gone now."""

    def create_ledger(self, role: str) -> None:
        """Schema `scaleout`, usable by the application's role."""

    def drop_ledger(self) -> None:
        """Schema `scaleout` with all it holds; absent is fine."""


class Databases(Protocol):
    """Opens databases; fetches the administrator's password, or a token, at that moment and keeps it nowhere."""

    def verify_login(self) -> None:
        """Prove that the password or the token can be had; nothing connects."""

    def as_admin(self, address: DatabaseAddress) -> Database:
        """A handle; connects when it is used, one connection at a time."""


class DatabaseServer(Protocol):
    """The Flexible Server as Azure manages it."""

    def read(self) -> ServerFactsBrief:
        """Name, version, SKU and allow-list."""

    def write_allow_list(self, extensions: Sequence[str]) -> None:
        """Set `azure.extensions` to exactly these and wait until it holds."""

    def read_setting(self, name: str) -> str:
        """The value of one server parameter."""

    def write_setting(self, name: str, value: str) -> bool:
        """Set one server parameter and wait until it holds; False when it acts only after a restart."""


class Secrets(Protocol):
    """The key vault."""

    def read(self, name: str) -> str:
        """The secret's current value; ConfigurationError when there is none."""


class Clock(Protocol):
    """The time, so that phases can be tested without waiting."""

    def now(self) -> datetime:
        """Now, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Let this much time pass; for waits much shorter than an activity may take."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All of it, for one target."""

    cluster: Cluster
    databases: Databases
    server: DatabaseServer
    secrets: Secrets
    clock: Clock
