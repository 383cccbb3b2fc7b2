"""Goes through a namespace of a store once, in bounded memory, without believing that the store will ever end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.lifecycle.ports import StoreAdapter
from accredit.lifecycle.stored import ItemPage

__all__ = ["MOST_ITEMS", "PAGE", "walk"]

PAGE: Final = 200
MOST_ITEMS: Final = 5_000_000
_MOST_EMPTY: Final = 1_000
"""Pages in a row that hold nothing and say that more follows."""


async def walk(adapter: StoreAdapter, namespace: str, *, after: str | None = None) -> AsyncIterator[ItemPage]:
    """Its pages, one at a time.

    Raises:
        UnavailableError: the store cannot be read; or (`store_untrusted`) it goes round in circles, gives more than it
            was asked for, or does not end.
    """
    seen, empty, pages, kept, power = 0, 0, 0, after, 1
    while True:
        page = await asyncio.to_thread(adapter.items, namespace, after, PAGE)
        if len(page.items) > PAGE:
            raise _untrusted(f"it gave {len(page.items)} items where {PAGE} were asked for")
        seen += len(page.items)
        empty = 0 if page.items else empty + 1
        if seen > MOST_ITEMS or empty > _MOST_EMPTY:
            raise _untrusted("its pages do not end")
        yield page
        if page.following is None:
            return
        # a cursor that comes back is found in constant memory by keeping one of each power of two (Brent)
        if page.following in {kept, after}:
            raise _untrusted("its pages go round in circles")
        after, pages = page.following, pages + 1
        if pages == power:
            kept, power = after, power * 2


def _untrusted(why: str) -> UnavailableError:
    return UnavailableError(Code.STORE_UNTRUSTED, f"the store cannot be trusted: {why}")
