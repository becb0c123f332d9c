"""What can go wrong in a transfer, by what the caller does about it.

TransferError(message, hint)      kind
├ PermanentError                  "permanent"      a retry cannot help
│ ├ NotAStore                                      no Chroma store, or its database is damaged
│ ├ UnknownFormat                                  this reader does not know the store: the official client may
│ └ ConfigurationError            "configuration"  the arguments, the URL or a privilege are wrong
├ TransientError                  "transient"      a retry may help; every command goes on where it stood
└ VerificationFailed              "verification"   source and target differ; the message names where
"""

from typing import ClassVar


class TransferError(Exception):
    """A failure that a person can act on: `message` says what, where and how many; `hint` the next step."""

    kind: ClassVar[str] = "permanent"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_json(self) -> dict[str, str]:
        """Return the last line that a failed command prints, under `error`."""
        return {"message": self.message, "hint": self.hint, "kind": self.kind}


class PermanentError(TransferError):
    """A retry cannot help."""


class NotAStore(PermanentError):
    """The directory holds no Chroma store of 0.4 or later, or its database is damaged: nobody can read it."""


class UnknownFormat(PermanentError):
    """The store on disk is not as any chromadb that this reader knows would write it."""


class ConfigurationError(PermanentError):
    """The arguments, the database URL or a privilege are wrong."""

    kind = "configuration"


class TransientError(TransferError):
    """A retry may help: a connection dropped, the server is full, the store was busy."""

    kind = "transient"


class VerificationFailed(TransferError):
    """Source and target differ."""

    kind = "verification"
