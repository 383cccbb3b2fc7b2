"""What one access validation lets an agent do that another does not. Pure.

A narrower declaration can still loosen what is enforced: a policy may bear on agents that declare some data class. So
what a change amounts to is compared under the policies in force, row by row; what cannot be compared is wider. What an
envelope approved beforehand is expected to be there and to have another definition, and nothing else of it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from accredit.kernel.ids import ToolId
from accredit.policy.enforced import AccessOutcome
from accredit.policy.validation import AccessReport

__all__ = ["widened"]

_CLOSED: Final = frozenset({AccessOutcome.FORBIDDEN, AccessOutcome.MASKED})


def widened(
    before: AccessReport, after: AccessReport, *, expected: Collection[ToolId] = frozenset()
) -> tuple[str, ...]:
    """In plain words, each thing that the later one allows beyond the earlier; empty if there is none.

    `expected` are the models and tools that an envelope says may come, or have another definition.
    """
    return tuple(
        dict.fromkeys((*_rows(before, after, expected), *_delegated(before, after), *_ceilings(before, after)))
    )


def _rows(before: AccessReport, after: AccessReport, expected: Collection[ToolId]) -> Iterator[str]:
    old = {(row.tool, row.data_class): row for row in (*before.rows, *before.models)}
    for row in (*after.rows, *after.models):
        if row.outcome in _CLOSED:
            continue
        then = old.get((row.tool, row.data_class))
        what = f"`{row.tool}`" if row.data_class is None else f"`{row.data_class}` of `{row.tool}`"
        if then is None:
            if row.tool not in expected:
                yield f"{what} was not in reach"
        elif row.outcome is not then.outcome and then.outcome is not AccessOutcome.ALLOWED:
            yield f"{what} was {then.outcome.value} and is {row.outcome.value}"
        elif row.effect != then.effect or (row.definition != then.definition and row.tool not in expected):
            yield f"{what} is another tool than it was"
        elif gone := set(then.conditions) - set(row.conditions):
            yield f"{what} does not depend on {len(gone)} of its conditions any more"


def _delegated(before: AccessReport, after: AccessReport) -> Iterator[str]:
    old = {(row.agent, row.tool): row for row in before.delegates}
    for row in after.delegates:
        then = old.get((row.agent, row.tool))
        same = then is not None and row.outcome is then.outcome and set(then.conditions) <= set(row.conditions)
        if not same or then is None or row.reached is None or not set(row.reached) <= set(then.reached or ()):
            yield f"`{row.tool}` is handed on to `{row.agent}` otherwise"


def _ceilings(before: AccessReport, after: AccessReport) -> Iterator[str]:
    kept = {one.policy: one for one in after.ceilings}
    granted = {row.tool for row in (*after.rows, *after.models)}
    for one in before.ceilings:
        then = kept.get(one.policy)
        left = granted & set(one.tools)
        if left and (then is None or then.role != one.role or not left <= set(then.tools)):
            yield f"`{one.policy}` does not bear on it any more"
