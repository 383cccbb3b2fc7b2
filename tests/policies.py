"""Policies for tests of anything else: with a case, since nothing is published without one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["with_cases"]

_CASE = """
servers: {probe: {tools: {look: {effect: read}}}}
agents: {stranger: {tools: []}}
cases: [{name: whoever has no grant, agent: stranger, call: {tool: probe/look}, expect: {outcome: deny}}]
"""


def with_cases(files: Mapping[str, str]) -> dict[str, str]:
    """The same policies with a case that holds whatever they say."""
    return {**files, "tests/any.yaml": _CASE}
