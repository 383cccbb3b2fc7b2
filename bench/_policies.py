"""A test case that holds whatever policies say: nothing is published without one."""

from __future__ import annotations

from typing import Final

__all__ = ["CASE"]

CASE: Final = """
servers: {probe: {tools: {look: {effect: read}}}}
agents: {stranger: {tools: []}}
cases: [{name: whoever has no grant, agent: stranger, call: {tool: probe/look}, expect: {outcome: deny}}]
"""
