"""What a model costs where its registration does not say: the operator's own list, then the providers' list prices.

List prices come with a library (`genai-prices`), so they change with it. What was found is stored with the model and
counts until somebody registers it anew; then whatever is different is a change like any other, shown and signed off.

INVARIANT: never too little. Of prices that depend on the size of a request the highest counts, of several kinds of
input or output the dearest, and what nobody knows a price for is not registered at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from accredit.kernel.canonical import digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.manifest import PriceList, RatesForm, read_price_list

__all__ = ["PriceBook", "priced_book"]

_ANY_OTHER: Final = "*"
_MOST_OUTPUT: Final = 10_000_000
_CURRENCY: Final = "USD"
"""Of the library's prices."""
_NONE: Final[PriceList] = MappingProxyType({})


class PriceBook:
    """Finds the rates of models. The library is loaded when first asked: it takes some tenths of a second."""

    def __init__(self, clock: Clock, own: PriceList = _NONE, *, source: str = "") -> None:
        self._clock = clock
        self._own = own
        self._source = source

    def find(self, api: str, url: str, listed_as: str | None, model: str) -> tuple[RatesForm, str] | None:
        """The rates of a model at a provider, and where they come from; None if nobody knows."""
        own = self._own.get(api, {})
        if (form := own.get(model)) is not None:
            return form, self._source
        if (listed := self._listed(url, listed_as, model)) is not None:
            return listed, f"genai-prices {version('genai-prices')}"
        form = own.get(_ANY_OTHER)
        return None if form is None else (form, self._source)

    def _listed(self, url: str, listed_as: str | None, model: str) -> RatesForm | None:
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - seldom needed, and slow to load

        try:
            provider = get_snapshot().find_provider(None, listed_as, None if listed_as else url)
        except LookupError:
            return None
        found = provider.find_model(model)
        if found is None:
            return None
        prices = vars(found.get_prices(datetime.fromtimestamp(self._clock.now().wall_us / 1_000_000, UTC)))
        inputs, outputs = _dearest(prices, "input"), _dearest(prices, "output")
        if inputs is None:
            return None
        return RatesForm.model_validate(
            {
                "input": _amount(inputs),
                # a model without a price of output puts out nothing that is sold by the token
                "output": _amount(inputs if outputs is None else outputs),
                "cacheRead": _amount(_dearest(prices, "cache_read") or inputs),
                "cacheWrite": _amount(_dearest(prices, "cache_write") or inputs),
                "maxOutput": min(found.context_window, _MOST_OUTPUT) if found.context_window else None,
            }
        )


def _dearest(prices: Mapping[str, Any], kind: str) -> Decimal | None:
    """The highest price of a million tokens of a kind, whatever size the request; None if it has none, or is free."""
    found: list[Decimal] = []
    for name, price in prices.items():
        if name.startswith(kind) and name.endswith("_mtok") and price is not None:
            found += [price.base, *(tier.price for tier in price.tiers)] if hasattr(price, "tiers") else [price]
    return max(found, default=None) or None


def _amount(price: Decimal) -> str:
    return f"{price:f} {_CURRENCY}"


def priced_book(clock: Clock, data: bytes | None = None) -> PriceBook:
    """A book with the operator's own list, if there is one.

    Raises:
        InvalidInputError: `setting_invalid`: it is not of the form.
    """
    if data is None:
        return PriceBook(clock)
    try:
        own = read_price_list(data)
    except InvalidInputError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`price_file`: {error.message}", hint=error.hint, cause=error.cause
        ) from error
    return PriceBook(clock, own, source=f"price file {digest('price-list', data)[7:19]}")
