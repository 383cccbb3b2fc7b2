"""Limits as the path of a call uses them: count an attempt, reserve, then settle or release exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, IdSource
from accredit.kernel.money import Money
from accredit.limits import gcra
from accredit.limits.budgets import Budget, window_of
from accredit.limits.counters import spend_in
from accredit.limits.folding import ReservedFact, SettledFact, fold
from accredit.limits.gcra import Rate
from accredit.limits.model import LimitRefusal, LimitUsage, Reservation, Spend
from accredit.limits.ports import Attempt, AttemptKind, CounterStore
from accredit.registry.model import AgentLimits

__all__ = ["AttemptRates", "Limits"]


@dataclass(frozen=True, slots=True)
class AttemptRates:
    """How many attempts are judged at all. Far above any agent's own rate: they bound work and records, not use."""

    credential: Rate = field(default_factory=lambda: Rate.per_minute(6_000))
    source: Rate = field(default_factory=lambda: Rate.per_minute(60_000))
    """Many agents may share an address."""
    unauthenticated: Rate = field(default_factory=lambda: Rate.per_minute(600))


@lru_cache(maxsize=4096)
def _network(source: str) -> str:
    """Who a source is: an IPv6 host has 2^64 addresses of its own, so its /64 is one source."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


class Limits:
    """Every limit of every agent. Refusals are values; a store that does not answer is a refusal too."""

    def __init__(
        self,
        clock: Clock,
        ids: IdSource,
        counters: CounterStore,
        *,
        attempts: AttemptRates | None = None,
        cost_per_day: Money | None = None,
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._counters = counters
        self._attempts = attempts or AttemptRates()
        self._cost_per_day = cost_per_day
        """The budget of an agent whose manifest names none; None leaves such an agent's spending uncapped."""

    def attempt(self, credential: CredentialId | None, source: str, *, door: str = "") -> LimitRefusal | None:
        """Count one attempt of an authenticated credential and its source; of the source alone if it proved nobody.

        Attempts that proved nobody are counted for each `door` apart: junk at one must not shut another.
        """
        network = _network(source)
        if credential is None:
            buckets = [Attempt(AttemptKind.UNAUTHENTICATED, f"{door}|{network}", self._attempts.unauthenticated)]
        else:
            buckets = [
                Attempt(AttemptKind.CREDENTIAL, credential, self._attempts.credential),
                Attempt(AttemptKind.SOURCE, network, self._attempts.source),
            ]
        try:
            return self._counters.attempt(buckets, self._clock.now())
        except UnavailableError:
            return _unavailable()

    def asked(self, point: str, per_minute: int) -> LimitRefusal | None:
        """Count one question of an enforcement point against the rate it was registered with.

        Its addresses are not counted: it asks for many, and was let in by whoever registered it.
        """
        bucket = Attempt(AttemptKind.CREDENTIAL, f"point/{point}", Rate.per_minute(per_minute))
        try:
            return self._counters.attempt([bucket], self._clock.now())
        except UnavailableError:
            return _unavailable()

    def reserve(self, spend: Spend, *, now: Instant | None = None) -> Reservation | LimitRefusal:
        """Take rate, concurrency and budget for one call, or nothing; of whoever handed the work on as well.

        Give the decision's own `now`, so that the record's time and the counted time are one.
        """
        try:
            return self._counters.reserve(
                spend,
                budgets=[
                    self._budget(spend.limits, spend.cap),
                    *(self._budget(share.limits, share.cap) for share in spend.shares),
                ],
                reservation_id=self._ids.new("rsv"),
                now=now or self._clock.now(),
            )
        except UnavailableError:
            return _unavailable()

    def release(self, reservation: Reservation) -> bool:
        """Give everything back, the place in the rate included: the call was refused later or never sent.

        Does nothing and says False if the reservation is settled or released already.
        """
        return self._counters.close(reservation.id, cost_nanos=None)

    def settle(self, reservation: Reservation, cost_nanos: int) -> bool:
        """Book what the call really cost, in the window reserved in.

        Does nothing and says False if the reservation is settled or released already.
        """
        return self._counters.close(reservation.id, cost_nanos=cost_nanos)

    def open_reservations(self) -> tuple[Reservation, ...]:
        """What is neither settled nor released: after a restart, the calls a sweeper has to close."""
        return tuple(self._counters.open_reservations())

    def show(self, agent: AgentId, limits: AgentLimits) -> LimitUsage:
        """How much of `limits` the agent has used."""
        now = self._clock.now()
        counters = self._counters.counters(agent)
        budget = self._budget(limits)
        cap = budget.cap if budget else None
        currency = cap.currency if cap else next((one.currency for one in reversed(counters.windows)), "USD")
        spend = spend_in(counters, window_of(now.wall_us), currency)
        rate = gcra.admit(Rate.per_minute(limits.calls_per_minute), counters.rate, now.boot_us)
        return LimitUsage(
            agent,
            limits.calls_per_minute,
            0 if rate.state is None else rate.remaining + 1,
            limits.concurrency,
            counters.in_flight,
            spend.window,
            cap,
            Money(spend.spent_nanos, currency),
            Money(spend.open_nanos, currency),
            None if cap is None else Money(max(cap.nanos - spend.spent_nanos - spend.open_nanos, 0), currency),
        )

    def restore(
        self, facts: Iterable[ReservedFact | SettledFact], *, limits_of: Callable[[AgentId], AgentLimits | None]
    ) -> None:
        """Rebuild the counters from the log's facts, in log order, before the first call is admitted."""

        def rate_of(agent: AgentId) -> Rate:
            limits = limits_of(agent)
            return Rate.per_minute(limits.calls_per_minute if limits else 1)

        self._counters.restore(fold(facts, rate_of=rate_of, now=self._clock.now()))

    def _budget(self, limits: AgentLimits, restricted: Money | None = None) -> Budget | None:
        cap = limits.cost_per_day or self._cost_per_day
        if restricted is not None and (cap is None or cap.currency != restricted.currency):
            # in another currency than the installation's own cap, nothing could be compared: nothing is left
            cap = restricted if cap is None else Money(0, cap.currency)
        elif restricted is not None and cap is not None and restricted.nanos < cap.nanos:
            cap = restricted
        return None if cap is None else Budget(cap)


def _unavailable() -> LimitRefusal:
    return LimitRefusal(Code.LIMITS_UNAVAILABLE, 1.0, "the counters cannot be read")
