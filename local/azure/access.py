"""What the identity may do: everything, but for the actions that the configuration denies."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from local.azure.protocol import ServiceError


@dataclass(frozen=True, slots=True)
class Access:
    denied: tuple[str, ...]  # patterns, such as Microsoft.DBforPostgreSQL/flexibleServers/configurations/*
    client_id: str

    def denies(self, action: str) -> bool:
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in self.denied)

    def require(self, action: str, scope: str) -> None:
        """Raise ARM's AuthorizationFailed when the action is denied."""
        if self.denies(action):
            raise ServiceError(
                403,
                "AuthorizationFailed",
                f"The client '{self.client_id}' with object id '{self.client_id}' does not have authorization to "
                f"perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently "
                "granted, please refresh your credentials.",
            )
