"""PgBouncer on and off, as a part of phase 1: only when asked for, on a server that has it.

Writes two server parameters, neither of which needs a restart, and a Secret with a copy of Open WebUI's DATABASE_URL
that leads to PgBouncer's port; the switch in phase 3d refers to it. Undo puts the parameters back as they were and
deletes the Secret; the Deployment is on its old URL again by then, because later phases are undone first.
"""

from dataclasses import dataclass, replace

from shared.errors import ConfigurationError
from shared.kubernetes import deployments, manifests
from shared.kubernetes.container_environment import read_database_url
from shared.kubernetes.pgbouncer import ENABLED, PREPARED_STATEMENTS, STATEMENTS_KEPT, refused_parameters, through
from shared.model.migration import Brief, Change
from shared.model.ports import Cluster, Ports
from shared.model.survey import DatabaseAddress, Survey
from shared.names import DATABASE_URL_KEY, Names


@dataclass(frozen=True, slots=True)
class PoolerPlan:
    deployment: str
    container: str
    port: int
    secret: str
    enabled_before: str
    """`pgbouncer.enabled` as it was: true or false."""
    statements_before: str
    """`pgbouncer.max_prepared_statements`; Azure's default where PgBouncer was off and does not say."""
    makes_secret: bool = True


def plan_pooler(brief: Brief, ports: Ports) -> PoolerPlan | None:
    """What is to be changed, None when nothing is; ConfigurationError where PgBouncer would refuse Open WebUI."""
    survey = brief.survey
    if not survey.pooler_port or survey.deployment is None or survey.server is None:
        return None
    secret = Names(brief.request.target.deployment, brief.run).database_url
    made = PoolerPlan(
        deployment=brief.request.target.deployment,
        container=survey.deployment.container,
        port=survey.pooler_port,
        secret=secret,
        enabled_before=survey.server.pgbouncer,
        statements_before=_statements(ports) if survey.server.pgbouncer == "true" else "0",
        makes_secret=ports.cluster.read("Secret", secret) is None,
    )
    if refused := refused_parameters(_database_url(made, ports.cluster)):
        message = f"PgBouncer refuses what DATABASE_URL asks for at the start of a session: {', '.join(refused)}"
        raise ConfigurationError(message, hint="Take it out of DATABASE_URL, or leave options.enable_pgbouncer out.")
    return made


def changes(plan: PoolerPlan | None, survey: Survey) -> list[Change]:
    if plan is None:
        return []
    role = survey.address.role if survey.address else "Open WebUI"
    found = [Change("create", "Secret", plan.secret, f"DATABASE_URL of {role} by way of port {plan.port}")]
    if plan.enabled_before != "true":
        found.append(Change("change", "server parameter", ENABLED, f"{plan.enabled_before} → true, without a restart"))
    if plan.statements_before == "0":
        found.append(Change("change", "server parameter", PREPARED_STATEMENTS, f"0 → {STATEMENTS_KEPT}"))
    return found


def turn_on(plan: PoolerPlan, run: str, address: DatabaseAddress, ports: Ports) -> None:
    """Write the parameters, prove that PgBouncer lets us in, make the Secret; ConfigurationError where a parameter
    acts only after a restart, which is not ours to do."""
    wanted = {ENABLED: "true"} if plan.enabled_before != "true" else {}
    if plan.statements_before == "0":
        wanted[PREPARED_STATEMENTS] = str(STATEMENTS_KEPT)
    if waiting := [name for name, value in wanted.items() if not ports.server.write_setting(name, value)]:
        message = f"server parameter {', '.join(waiting)} acts only after a restart"
        raise ConfigurationError(message, hint="Restart the server in a quiet hour, then plan again.")
    ports.databases.as_admin(replace(address, port=plan.port)).read_chunk_table()
    url = through(_database_url(plan, ports.cluster), plan.port)
    ports.cluster.apply(manifests.opaque_secret(plan.secret, run, {DATABASE_URL_KEY: url.encode()}))


def turn_off(plan: PoolerPlan, ports: Ports) -> None:
    """As it was before, the latest change first."""
    if plan.makes_secret:
        ports.cluster.delete("Secret", plan.secret)
    if plan.statements_before == "0" and ports.server.read_setting(ENABLED) == "true":
        ports.server.write_setting(PREPARED_STATEMENTS, plan.statements_before)
    if plan.enabled_before != "true":
        ports.server.write_setting(ENABLED, plan.enabled_before)


def _statements(ports: Ports) -> str:
    return ports.server.read_setting(PREPARED_STATEMENTS)


def _database_url(plan: PoolerPlan, cluster: Cluster) -> str:
    """The URL with its password: read where it is used, and kept nowhere but in the Secret."""
    deployment = cluster.read("Deployment", plan.deployment) or {}
    main = deployments.container(deployment, plan.container)
    url = read_database_url(cluster, main)
    if not url:
        raise ConfigurationError(f"container {plan.container} has no DATABASE_URL that can be read")
    return url
