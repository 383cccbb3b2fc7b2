"""What is measured of this installation, for Prometheus at `/metrics` (text exposition format 0.0.4 or OpenMetrics).

Labels come from lists of ours alone: protocols, outcomes, reason codes, kinds. None is an agent, a tool, a model, a
person or anything else whose number grows with use: metrics go to systems that keep no secrets and forget nothing, and
who did what is told by the log, to whoever may read it. So the number of series is bounded by this file.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from accredit.api.plane import ControlPlane
from accredit.approvals.model import HoldState
from accredit.enforcement.model import CallEnd
from accredit.enforcement.reports import Reports
from accredit.kernel.codes import Code
from accredit.kernel.detector import Sensitive
from accredit.kernel.errors import UnavailableError
from accredit.monitoring.model import AlertState
from accredit.policy.model import Outcome

__all__ = ["Measured", "PresentState"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MICROSECOND = 1e-6
_NANO = 1e-9
_OTHER = "other"
_PROTOCOLS = frozenset({"authzen", "http", "llm", "mcp"})


class Measured:
    """Counts what happens on the path of calls. Its methods are called on that path: they only add."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "accredit_calls", "Calls decided, by what came of them.", ("protocol", "outcome", "code"),
            registry=self.registry,
        )  # fmt: skip
        self._deciding = Histogram(
            "accredit_decision_seconds", "From a call's arrival to its answer or to where it may be forwarded, the "
            "audit record included.", ("protocol", "outcome"), buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._recording = Histogram(
            "accredit_audit_ack_seconds", "From handing a decision record to the log until it is durable.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._serving = Histogram(
            "accredit_upstream_seconds", "From letting a call through to its end.", ("protocol", "end"),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._cost = Counter("accredit_cost_usd", "What admitted calls cost, as settled.", ("protocol",),
                             registry=self.registry)  # fmt: skip
        self._tokens = Counter("accredit_llm_tokens", "Tokens that model providers counted.", ("direction",),
                               registry=self.registry)  # fmt: skip
        self._detected = Counter("accredit_detections", "Secrets and personal data found in results.", ("kind",),
                                 registry=self.registry)  # fmt: skip

        # looking a series up by its labels costs more than adding to it, and there are few: each is looked up once
        self._decided = cache(
            lambda protocol, outcome, code: (
                self._calls.labels(_family(protocol), outcome.value, code.value),
                self._deciding.labels(_family(protocol), outcome.value),
            )
        )
        self._ended = cache(
            lambda protocol, end: (
                self._serving.labels(_family(protocol), end.value), self._cost.labels(_family(protocol))
            )
        )  # fmt: skip

    def decided(self, protocol: str, outcome: Outcome, code: Code, duration_us: int) -> None:
        """A call was let through, refused or held."""
        calls, seconds = self._decided(protocol, outcome, code)
        calls.inc()
        seconds.observe(duration_us * _MICROSECOND)

    def recorded(self, duration_us: int) -> None:
        """A decision record is durable."""
        self._recording.observe(duration_us * _MICROSECOND)

    def ended(
        self, protocol: str, end: CallEnd, duration_us: int, cost_nanos: int, tokens: tuple[int, int] | None
    ) -> None:
        """A call that was let through is over."""
        seconds, cost = self._ended(protocol, end)
        seconds.observe(duration_us * _MICROSECOND)
        if cost_nanos:
            cost.inc(cost_nanos * _NANO)
        if tokens is not None:
            self._tokens.labels("input").inc(tokens[0])
            self._tokens.labels("output").inc(tokens[1])

    def detected(self, kind: Sensitive, count: int) -> None:
        """Something was found in a result."""
        self._detected.labels(kind.value).inc(count)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """The document for that `Accept` header, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


def _family(protocol: str) -> str:
    found = protocol.partition("/")[0]
    return found if found in _PROTOCOLS else _OTHER


class PresentState(Collector):
    """What stands at the moment somebody asks: read then, from memory."""

    def __init__(self, plane: ControlPlane, reports: Reports, exported: Callable[[], tuple[int, int] | None]) -> None:
        """`exported` gives how many spans were sent and dropped; None where none are."""
        self._plane = plane
        self._reports = reports
        self._exported = exported

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked before the installation is open."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every gauge and every count that others keep."""
        plane = self._plane
        yield _gauge("accredit_calls_in_flight", "Calls let through and not over.", plane.enforcer.in_flight)
        yield _gauge(
            "accredit_holds_open", "Calls that wait for a person.", len(plane.holds.find(state=HoldState.OPEN))
        )
        with suppress(UnavailableError):  # counters that do not answer leave a gap, not a failed scrape
            reserved = plane.limits.open_reservations()
            yield _gauge("accredit_budget_reservations_open", "Reservations not settled.", len(reserved))
            held = sum(one.cost_nanos for one in reserved)
            yield _gauge("accredit_budget_reserved_usd", "What they hold of budgets.", held * _NANO)
        yield _gauge("accredit_audit_queue_depth", "Records that wait to be durable.", plane.log.depth)
        yield _gauge("accredit_audit_healthy", "1 if the log takes records of calls.", plane.log.healthy)
        yield _count("accredit_audit_records", "Records in the log.", plane.records.size())
        yield _gauge("accredit_policy_release", "Number of the policy release in force.", plane.releases.number)
        yield _gauge("accredit_monitoring_behind", "Records that monitoring has not read.", plane.room.monitor.behind)
        alerts = Tally(str(one.severity) for one in plane.room.monitor.alerts(state=AlertState.OPEN))
        yield _by("accredit_alerts_open", "Alerts that nobody looks after.", "severity", alerts, gauge=True)
        states = Tally(str(agent.state) for agent in plane.snapshots.current.catalogue.agents())
        yield _by("accredit_agents", "Registered agents.", "state", states, gauge=True)
        yield _by(
            "accredit_otlp_spans_received", "Spans that were reported, by what became of them.", "result",
            self._reports.totals, gauge=False,
        )  # fmt: skip
        if (exported := self._exported()) is not None:
            sent, dropped = exported
            yield _by(
                "accredit_otlp_spans_exported", "Spans of our own.", "result",
                Tally({"dropped": dropped, "sent": sent}), gauge=False,
            )  # fmt: skip


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _by(name: str, text: str, label: str, values: Tally[str], *, gauge: bool) -> Metric:
    family = (GaugeMetricFamily if gauge else CounterMetricFamily)(name, text, labels=(label,))
    for value, count in sorted(values.items()):
        family.add_metric((value,), count)
    return family
