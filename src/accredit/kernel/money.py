"""Money as integer nano-units of a currency, always rounded against the spender."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Money"]

_TEXT = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ([A-Z]{3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in nano-units (1 USD = 1,000,000,000)."""

    nanos: int
    currency: str = "USD"

    @classmethod
    def parse(cls, text: str) -> Money:
        """Read `50 USD` or `0.002 USD`; what is finer than a nano-unit is rounded up.

        Raises:
            InvalidInputError: the text has another form.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InvalidInputError(
                Code.MANIFEST_INVALID, f"`{text[:40]}` is not an amount", hint="write `50 USD` or `0.002 USD`"
            )
        nanos = (Decimal(match[1]) * 1_000_000_000).to_integral_value(ROUND_CEILING)
        return cls(int(nanos), match[2])

    def __str__(self) -> str:
        whole = Decimal(self.nanos) / 1_000_000_000
        return f"{whole.normalize():f} {self.currency}"
