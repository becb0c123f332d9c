"""The migration at a glance: every phase, in order."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from phases import (
    back_up_source,
    copy_files,
    copy_vectors,
    cut_over,
    enable_autoscaling,
    enable_pgvector,
    install_monitoring,
    load_test,
    preflight,
    protect_source,
    provision_storage,
    retire_source,
    scale_out,
    validate,
    write_handbook,
)


@dataclass(frozen=True)
class Phase:
    """A module with `plan`, and `apply` and `undo` where there is something to do."""

    number: str
    """The runbook's."""
    name: str
    module: ModuleType
    reversible: bool = True
    """False: once it has started there is no way back, and a failure halts the run."""
    addition: bool = False
    """Users are served by what `validate` approved, and this only adds to it: a failure undoes it alone."""

    @property
    def applies(self) -> bool:
        return hasattr(self.module, "apply")

    @property
    def undoes(self) -> bool:
        return hasattr(self.module, "undo")

    def activities(self) -> dict[str, Callable[[Any, Any], Any]]:
        """Activity name → the function that it runs."""
        found = {f"plan_{self.name}": self.module.plan}
        if self.applies:
            found[self.name] = self.module.apply
        if self.undoes:
            found[f"undo_{self.name}"] = self.module.undo
        return found


PHASES = (
    Phase("0", "preflight", preflight),
    Phase("0b", "protect_source", protect_source),
    Phase("1", "enable_pgvector", enable_pgvector),
    Phase("2", "provision_storage", provision_storage),
    Phase("3a", "back_up_source", back_up_source),
    Phase("3b", "copy_files", copy_files),
    Phase("3c", "copy_vectors", copy_vectors),
    Phase("3d", "cut_over", cut_over),
    Phase("4", "scale_out", scale_out),
    Phase("5", "validate", validate),
    Phase("6", "enable_autoscaling", enable_autoscaling, addition=True),
    Phase("7", "install_monitoring", install_monitoring, addition=True),
    Phase("8", "load_test", load_test, addition=True),
    Phase("9", "write_handbook", write_handbook, addition=True),
    Phase("10", "retire_source", retire_source, reversible=False),
)
