"""Why a SCIM request is refused (RFC 7644 §3.12).

AccreditError
└── ScimError    one fault; `scim_type` is the RFC's own word for it
"""

from __future__ import annotations

from enum import StrEnum

from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError

__all__ = ["ScimError", "ScimType"]


class ScimType(StrEnum):
    """The kinds of fault that RFC 7644 names (table 9); the empty one where it names none."""

    NONE = ""
    INVALID_FILTER = "invalidFilter"
    TOO_MANY = "tooMany"
    UNIQUENESS = "uniqueness"
    MUTABILITY = "mutability"
    INVALID_SYNTAX = "invalidSyntax"
    INVALID_PATH = "invalidPath"
    NO_TARGET = "noTarget"
    INVALID_VALUE = "invalidValue"


class ScimError(AccreditError):
    """A SCIM request that is refused as it is; nothing of it was done."""

    def __init__(self, scim_type: ScimType, message: str, *, status: int = 400) -> None:
        super().__init__(Code.SCIM_INVALID, message)
        self.scim_type = scim_type
        self.status = status
