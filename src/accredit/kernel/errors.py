"""The one error tree. Each error has a stable code, a text for the caller and, apart from it, a cause for the log.

AccreditError
├── InvalidInputError      what was sent cannot be accepted as it is (HTTP 400, exit 1)
├── UnauthenticatedError   nobody proved who is calling (HTTP 401, exit 5)
├── ForbiddenError         the caller is known and may not (HTTP 403, exit 5)
├── NotFoundError          the thing named does not exist for this caller (HTTP 404, exit 6)
├── ConflictError          the thing changed, exists already or is used (HTTP 409, exit 1)
└── UnavailableError       something this needs is down; nothing was done (HTTP 503, exit 1)
    └── AttemptsLimitedError   too many attempts came from there lately (HTTP 429, exit 1)

Only the outermost layer turns these into replies. Messages: lower case, no full stop, the caller's input in
backticks; the remedy is the separate `hint`.
"""

from __future__ import annotations

from accredit.kernel.codes import Code

__all__ = [
    "AccreditError",
    "AttemptsLimitedError",
    "ConflictError",
    "ForbiddenError",
    "InvalidInputError",
    "NotFoundError",
    "UnauthenticatedError",
    "UnavailableError",
]


class AccreditError(Exception):
    """Root of everything the product raises on purpose."""

    status = 500
    exit_code = 1

    def __init__(self, code: Code, message: str, *, hint: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or code.remedy
        self.cause = cause


class InvalidInputError(AccreditError):
    """What was sent cannot be accepted as it is."""

    status = 400


class UnauthenticatedError(AccreditError):
    """Nobody proved who is calling.

    `credential` says whose credential it was, where that much was proven and it does not count (any more): for the
    record alone.
    """

    status = 401
    exit_code = 5

    def __init__(
        self, code: Code, message: str, *, hint: str = "", cause: str = "", credential: str | None = None
    ) -> None:
        super().__init__(code, message, hint=hint, cause=cause)
        self.credential = credential


class ForbiddenError(AccreditError):
    """The caller is known and may not."""

    status = 403
    exit_code = 5


class NotFoundError(AccreditError):
    """The thing named does not exist for this caller."""

    status = 404
    exit_code = 6


class ConflictError(AccreditError):
    """The thing changed, exists already or is used."""

    status = 409


class UnavailableError(AccreditError):
    """Something this needs is down; nothing was done."""

    status = 503


class AttemptsLimitedError(UnavailableError):
    """Too many attempts to prove who one is came from there lately."""

    status = 429

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = max(1, round(retry_after_s))
        super().__init__(Code.ATTEMPTS_LIMITED, message, hint=f"retry in {self.retry_after_s} s")
