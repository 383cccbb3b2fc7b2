"""Validators of pinned input schemas, compiled once per definition and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.items import names_its_uri
from accredit.registry.model import Tool
from accredit.registry.schemas import ArgumentFault, ArgumentValidator, compile_arguments

__all__ = ["ArgumentChecks"]

_KEPT: Final = 4096


class ArgumentChecks:
    """Checks arguments against a tool's pinned schema (DESIGN §3.4)."""

    def __init__(self) -> None:
        self._validators: OrderedDict[tuple[Digest, bool], ArgumentValidator] = OrderedDict()

    def fault(self, tool: Tool, arguments: Mapping[str, Any]) -> ArgumentFault | None:
        """None if the arguments fit; a schema that no longer compiles fits nothing."""
        key = (tool.definition_digest, tool.allow_undeclared)
        validator = self._validators.get(key)
        if validator is None:
            try:
                validator = compile_arguments(
                    tool.definition.get("inputSchema"), allow_undeclared=tool.allow_undeclared
                )
            except InvalidInputError:  # it compiled when it was pinned: another version of the bounds says no
                return ArgumentFault(Code.SCHEMA_REFUSED, "", "a tool whose pinned schema this version can compile")
            self._validators[key] = validator
            if len(self._validators) > _KEPT:
                self._validators.popitem(last=False)
        fault = validator.fault(arguments)
        if fault is None and tool.item is not None and not names_its_uri(tool.name, arguments):
            return ArgumentFault(Code.ARGUMENTS_INVALID, "/uri", "the URI that the other arguments make")
        return fault
