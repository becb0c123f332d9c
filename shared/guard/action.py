"""Carry a verdict out. Every step is idempotent: a tick that is delivered twice changes nothing the second time."""

from shared.guard.ports import Actuator
from shared.guard.verdicts import Action, Verdict


def carry_out(verdict: Verdict, actuator: Actuator, *, run: str = "") -> tuple[str, ...]:
    """Do what the verdict asks for and return what was done, a few words each. `run`: the migration to roll back.

    Whether it took effect is judged at the next tick, by what the Deployment says then.
    """
    done = []
    if verdict.replicas is not None:
        actuator.scale(verdict.replicas)
        done.append(f"replicas {verdict.replicas}")
    if verdict.minimum is not None and verdict.maximum is not None:
        actuator.set_bounds(verdict.minimum, verdict.maximum)
        done.append(f"autoscaler {verdict.minimum}-{verdict.maximum}")
    if verdict.action is Action.ROLL_BACK and verdict.to_revision is not None:
        actuator.undo_rollout(verdict.to_revision)
        done.append(f"back to revision {verdict.to_revision}")
    elif verdict.action is Action.ROLL_BACK:
        actuator.roll_back(run)
        done.append(f"rollback of {run}")
    if verdict.operator or verdict.action is Action.CALL_OPERATOR:
        actuator.call_operator(verdict.reason)
        done.append("operator called")
    return tuple(done)
