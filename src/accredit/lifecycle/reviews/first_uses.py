"""Whether a permission was first used for a task that somebody verified. Reads a bounded stretch of the log.

Asked of permissions that were granted lately, of agents that are bound to tasks elsewhere: there a first use for no
task is one that nobody asked for. What is not found within the stretch is not known, and tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accredit.audit.ports import RecordReader
from accredit.audit.records import body_of, header_of
from accredit.kernel.ids import AgentId, ToolId

__all__ = ["FirstUses"]

_DAY_US: Final = 86_400_000_000
_MOST_READ: Final = 20_000
"""Records that are read for one card."""


class FirstUses:
    """Finds them. May be used from any thread."""

    def __init__(self, records: RecordReader) -> None:
        self._records = records

    def for_no_task(self, agent: AgentId, tools: Mapping[ToolId, int]) -> frozenset[ToolId]:
        """Those of some tools, each with the day (since the epoch, UTC) of its first use, that were used for no task.

        Raises:
            UnavailableError: the log cannot be read.
        """
        if not tools:
            return frozenset()
        wanted, found = set(tools), set()
        start = self._first_since(min(tools.values()) * _DAY_US)
        for record in self._records.records(start, start + _MOST_READ):
            header = header_of(record)
            tool = header["tool"]
            if header["kind"] != "decision" or header["agent"] != agent or tool not in wanted:
                continue
            if header["decision"] != "allow":
                continue
            wanted.discard(tool)
            if body_of(record).get("task") is None:
                found.add(ToolId(tool))
            if not wanted:
                break
        return frozenset(found)

    def _first_since(self, since_us: int) -> int:
        """Where the records of that moment begin."""
        low, high = 0, self._records.size()
        while low < high:
            middle = (low + high) // 2
            record = next(iter(self._records.records(middle, middle + 1)), None)
            if record is None or header_of(record)["time"] >= since_us:
                high = middle
            else:
                low = middle + 1
        return low
