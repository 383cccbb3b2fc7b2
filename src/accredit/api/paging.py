"""Lists in pages. A page begins after a place in the order and not at a count, so what comes or goes moves nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeVar

from fastapi import Query

__all__ = ["MOST", "After", "Limit", "Place", "page", "since"]

_T = TypeVar("_T")

MOST: Final = 1_000
Place = tuple[str, ...]
"""Where something stands in its list; the last part is its id."""
Limit = Annotated[int, Query(ge=1, le=MOST)]
After = Annotated[str | None, Query(max_length=400)]
"""The `next` of the page before."""


def since(wall_us: int) -> str:
    """A time as part of a place: as text in the order of time."""
    return f"{wall_us:017d}"


def page(
    found: Iterable[_T], place: Callable[[_T], Place], limit: int, after: str | None, *, newest_first: bool = False
) -> tuple[list[_T], str | None]:
    """The next `limit` of what is found, in its order, and after which place to go on; None: that was all."""
    begin = None if after is None else tuple(after.split("/"))

    def ahead(one: _T) -> bool:
        return begin is None or (place(one) < begin if newest_first else place(one) > begin)

    first = heapq.nlargest if newest_first else heapq.nsmallest
    chosen = first(limit + 1, filter(ahead, found), key=place)
    return chosen[:limit], "/".join(place(chosen[limit - 1])) if len(chosen) > limit else None
