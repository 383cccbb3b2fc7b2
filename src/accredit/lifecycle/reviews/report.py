"""What a campaign of reviews came to, or waits for, as values and as text that can be filed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.reviews.carefulness import Carefulness
from accredit.lifecycle.reviews.model import AgentReview, AgentReviewState, Removal, ReviewCampaign
from accredit.lifecycle.reviews.population import Identity

__all__ = ["ReviewReport"]

_MOST_LINES: Final = 1_000
"""Agents that the text names."""


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """All that a campaign came to, or waits for."""

    campaign: ReviewCampaign
    reviews: tuple[AgentReview, ...]
    identities: tuple[Identity, ...]
    """Those that are missing, or that somebody accepted."""
    population: Mapping[str, int]
    looks: tuple[Carefulness, ...]
    """How each look went. Seeded permissions are counted in it once the campaign is closed."""
    reviewers: tuple[PersonId, ...]
    waiting: tuple[str, ...]
    """Why it cannot be closed, in plain words."""

    def outcomes(self) -> Mapping[str, int]:
        """How many reviews stand how."""
        found: dict[str, int] = {}
        for one in self.reviews:
            found[one.state.value] = found.get(one.state.value, 0) + 1
        return dict(sorted(found.items()))

    @property
    def removed(self) -> int:
        """How many permissions were taken away; while the campaign is open nothing tells seeded ones apart."""
        return sum(len(self._gone(one)) for one in self.reviews)

    @property
    def verified(self) -> int:
        """And of how many of them it was looked up that they are out of reach."""
        return sum(each.verified_us is not None for one in self.reviews for each in self._gone(one))

    @property
    def silent(self) -> int:
        """Agents for which nobody answered in time."""
        return sum(one.state in {AgentReviewState.REDUCED, AgentReviewState.SUSPENDED} for one in self.reviews)

    def _gone(self, review: AgentReview) -> list[Removal]:
        seeded = frozenset() if self.campaign.open else self.campaign.seeded(review.agent)
        return [one for one in review.removals if one.tool not in seeded]

    def text(self, address: Callable[[PersonId], str | None], name: Callable[[AgentId], str | None]) -> str:
        """The report as lines that can be filed; `address` and `name` say what people and agents are called."""
        campaign = self.campaign
        lines = [
            f"Review campaign {campaign.id} ({campaign.kind}), begun {_day(campaign.begun_us)}: {campaign.reason}",
            f"Agents: {len(self.reviews)}; {_counts(self.outcomes())}",
            f"Identities seen: {sum(self.population.values())}; {_counts(self.population)}",
            f"Permissions taken away: {self.removed}, of these shown to be out of reach: {self.verified}",
            f"Agents for which nobody answered in time: {self.silent}",
            f"Reviewers: {', '.join(address(one) or one for one in self.reviewers) or 'nobody'}",
        ]
        for number, look in enumerate(self.looks, 1):
            lines.append(
                f"Look {number}: {look.decisions} decisions, {look.bulk_percent} % kept in bulk, "
                f"median view {look.median_view_ms / 1000:.1f} s"
                + ("" if campaign.open else f", {look.missed} of {look.seeded} seeded permissions kept")
            )
        if not campaign.open:
            lines += [f"Look {look} did not count: {why}" for look, why in campaign.flags]
        lines += [f"Accepted: {one.subject} by {address(one.by) or one.by}: {one.reason}" for one in campaign.accepted]
        lines += [f"Waits: {one}" for one in self.waiting]
        for one in self.reviews[:_MOST_LINES]:
            need = one.need.text if one.need is not None else "nobody said what it is needed for"
            taken = ", ".join(each.tool for each in self._gone(one)) or "nothing"
            lines.append(
                f"- {name(one.agent) or one.agent} ({one.tier or 'no tier'}): {one.state}; {need}; taken away: {taken}"
            )
        if (more := len(self.reviews) - _MOST_LINES) > 0:
            lines.append(f"- and {more} more")
        if campaign.closed_us is not None:
            by = address(campaign.closed_by) if campaign.closed_by is not None else None
            lines.append(f"Closed {_day(campaign.closed_us)} by {by or campaign.closed_by or 'the installation'}")
        return "\n".join(lines) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _day(wall_us: int) -> str:
    return datetime.fromtimestamp(wall_us / 1_000_000, UTC).date().isoformat()
