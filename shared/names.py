"""Names of what a migration makes. Pure, so that every phase and every rerun finds the same objects."""

from dataclasses import dataclass

LONGEST = 63
DATABASE_URL_KEY = "database-url"


@dataclass(frozen=True, slots=True)
class Names:
    """Object names for one Deployment and one run, such as `open-webui-0001`."""

    deployment: str
    run: str

    @property
    def code(self) -> str:
        """ConfigMap with the mover."""
        return f"{self.run}-mover"

    @property
    def record(self) -> str:
        """Secret with the Deployment as it was before."""
        return f"{self.run}-before"

    @property
    def snapshot(self) -> str:
        """VolumeSnapshot of the disk as it was before."""
        return f"{self.run}-disk-before"

    @property
    def redis(self) -> str:
        return f"{self.deployment}-redis"

    @property
    def session_secret(self) -> str:
        return f"{self.deployment}-session"

    @property
    def database_url(self) -> str:
        """Secret with the DATABASE_URL that leads to PgBouncer."""
        return f"{self.deployment}-database-pooled"

    @property
    def disruption_budget(self) -> str:
        return self.deployment

    @property
    def load_test(self) -> str:
        """ConfigMap and Secret of the load test."""
        return f"{self.run}-load-test"

    def job(self, step: str) -> str:
        """A Job of this run; its pods add a suffix of their own."""
        return f"{self.run}-{step}"[: LONGEST - 6].rstrip("-")


def short_run(deployment: str, number: int) -> str:
    """The run's name inside the namespace, fit for a label."""
    return f"{deployment[:40].rstrip('-')}-{number:04d}"
