"""What can go wrong, by what the migration does about it.

MigrationError(message, hint)
├ TransientError             a retry may help: the only one that escapes an activity, so Durable retries it
├ PermanentError             a retry cannot help: what was started is undone
│ ├ ConfigurationError       the request, a setting or a secret is wrong
│ ├ PermissionMissing        the identity may not do what the phase needs
│ ├ UnsupportedDeployment    what was found cannot be migrated as it is
│ └ VerificationFailed       the two stores differ
└ NeedsOperator              undo is unsafe or has failed: halt with the healthy side serving
"""

from typing import Any


class MigrationError(Exception):
    """A failure that a person can act on: `message` says what, where and how many; `hint` the next command."""

    def __init__(self, message: str, *, hint: str = "", result: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.result = result
        """What was found before it failed, as plain JSON for the report."""


class TransientError(MigrationError):
    """A retry may help: a connection dropped, a server is busy, a conflict was lost."""


class PermanentError(MigrationError):
    """A retry cannot help."""


class ConfigurationError(PermanentError):
    """The request, a setting or a secret is wrong."""


class PermissionMissing(PermanentError):
    """The identity may not do what the phase needs; the hint names the role."""


class UnsupportedDeployment(PermanentError):
    """What was found cannot be migrated as it is."""


class VerificationFailed(PermanentError):
    """Source and target differ; the message names where."""


class NeedsOperator(MigrationError):
    """Undo is unsafe or has failed: the run halts and a person decides."""
