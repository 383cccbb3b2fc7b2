"""What a request may say: every form is strict, names no key it does not take, and bounds each value."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from accredit.monitoring.model import AlertDisposition
from accredit.registry.model import Role

__all__ = ["AnyRole", "Form", "Named", "Note", "Nothing", "Reason", "Resolution"]

Named = Annotated[str, Path(max_length=200)]
"""A name or id in a path."""

AnyRole = Annotated[Role, Field(strict=False)]
"""A role by its name: in JSON there is nothing stricter than its text."""


class Form(BaseModel):
    """A body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Form):
    """A body that says nothing."""


class Reason(Form):
    """Why somebody does it; it stands in the log, sealed."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Resolution(Form):
    """What an alert turned out to be."""

    disposition: Annotated[AlertDisposition, Field(strict=False)]
    note: Annotated[str, Field(max_length=2000)] = ""


class Note(Form):
    """What somebody has to say of it, if anything."""

    note: Annotated[str, Field(max_length=2000)] = ""
