"""Campaigns and reviews as they are kept. Rows are the truth; what is open is known from memory.

Ids follow from what a review is about and when, so whoever begins it again after a crash begins the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import AgentId, IdSource, ToolId
from accredit.lifecycle.reviews.model import AgentReview, ReviewCampaign, ReviewMark
from accredit.lifecycle.reviews.rows import (
    AGENT_REVIEW,
    REVIEW_CAMPAIGN,
    REVIEW_MARK,
    agent_review_doc,
    agent_review_from,
    campaign_doc,
    campaign_from,
    mark_doc,
    mark_from,
)

__all__ = ["Reviews", "review_id"]

_AT_ONCE: Final = 200
"""Reviews that one transaction begins."""
_SYSTEM: Final = Actor(basis="system")


def review_id(campaign: str, agent: AgentId) -> str:
    """The id of the review of an agent in a campaign: there is one."""
    return f"rvw_{digest_value('agent-review', [campaign, agent]).removeprefix('sha256:')[:32]}"


class Reviews:
    """Every campaign and review of this installation."""

    def __init__(self, control: ControlLog, ids: IdSource) -> None:
        self._control = control
        self._ids = ids
        self._campaigns: dict[str, ReviewCampaign] = {}
        self._all: dict[str, AgentReview] = {}
        self._of: dict[str, list[str]] = {}
        self._of_agent: dict[AgentId, list[str]] = {}
        self._open: dict[AgentId, str] = {}
        self._unsettled: set[str] = set()
        self._marks: dict[AgentId, ReviewMark] = {}
        for kind in (REVIEW_CAMPAIGN, AGENT_REVIEW, REVIEW_MARK):
            for row in control.view.scan(kind):
                self._keep(Write(kind, row.key, row.doc))
        control.subscribe(self._follow)

    # -- reading

    def campaign(self, campaign: str) -> ReviewCampaign:
        """The campaign of that id.

        Raises:
            NotFoundError: there is none.
        """
        found = self._campaigns.get(campaign)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no review campaign `{campaign[:80]}`")
        return found

    def known(self, campaign: str) -> bool:
        """Whether there was ever a campaign of that id."""
        return campaign in self._campaigns

    def campaigns(self, *, open_: bool | None = None) -> tuple[ReviewCampaign, ...]:
        """Campaigns, newest first."""
        found = [one for one in self._campaigns.values() if open_ in {None, one.open}]
        return tuple(sorted(found, key=lambda one: (one.begun_us, one.id), reverse=True))

    def review(self, review: str) -> AgentReview:
        """The review of that id.

        Raises:
            NotFoundError: there is none.
        """
        found = self._all.get(review)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no review `{review[:80]}`", hint="see `review list`")
        return found

    def of_campaign(self, campaign: str) -> tuple[AgentReview, ...]:
        """The reviews of a campaign, those that are due first."""
        found = [self._all[one] for one in list(self._of.get(campaign, ()))]
        return tuple(sorted(found, key=lambda one: (one.due_us, one.id)))

    def size(self, campaign: str) -> int:
        """How many reviews a campaign has."""
        return len(self._of.get(campaign, ()))

    def find(self, *, open_: bool | None = None, agent: AgentId | None = None) -> tuple[AgentReview, ...]:
        """Reviews, those that are due first."""
        some: Iterable[AgentReview] = list(self._all.values())  # in one go: others change it meanwhile
        if agent is not None:
            some = [self._all[one] for one in self._of_agent.get(agent, ())]
        elif open_:
            some = [self._all[one] for one in list(self._open.values())]
        found = [one for one in some if open_ in {None, one.open}]
        return tuple(sorted(found, key=lambda one: (one.due_us, one.id)))

    def open_of(self, agent: AgentId) -> AgentReview | None:
        """The review of an agent that is open: there is one at most."""
        found = self._open.get(agent)
        return None if found is None else self._all[found]

    def unsettled(self) -> tuple[AgentReview, ...]:
        """Reviews of which a removal still rests on a restriction."""
        return tuple(self._all[one] for one in sorted(self._unsettled))

    def taken(self, agent: AgentId) -> frozenset[ToolId]:
        """What reviews took away from an agent, where it still rests on a restriction."""
        found = [self._all[one] for one in self._of_agent.get(agent, ())]
        return frozenset(removal.tool for one in found for removal in one.unsettled)

    def mark(self, agent: AgentId) -> ReviewMark | None:
        """What the last review of an agent left."""
        return self._marks.get(agent)

    def mark_before(self, review: AgentReview) -> ReviewMark | None:
        """What the last review of its agent before this one left, whichever look this one is at."""
        found = self._marks.get(review.agent)
        return found.before if found is not None and found.review == review.id else found

    # -- changing

    async def begin(self, campaign: ReviewCampaign, reviews: Sequence[AgentReview], actor: Actor) -> ReviewCampaign:
        """Begin a campaign, or add to one; of an agent that is under review already nothing is added.

        Raises:
            UnavailableError: it could not be made durable; beginning it again completes it.
        """

        def first(view: StateView) -> Change | None:
            if view.get(REVIEW_CAMPAIGN, campaign.id) is not None:
                return None
            return self._campaign_change("review.campaign-begun", campaign, actor, campaign.reason)

        await self._control.transact(first)
        for at in range(0, len(reviews), _AT_ONCE):
            some = reviews[at : at + _AT_ONCE]

            def added(_: StateView, some: Sequence[AgentReview] = some) -> Change | None:
                look = self._campaigns[campaign.id].look
                fresh = [
                    replace(one, look=look) for one in some if one.id not in self._all and one.agent not in self._open
                ]
                if not fresh:
                    return None
                writes = tuple(self._write(one) for one in fresh)
                body = {"campaign": campaign.id, "reviews": len(fresh)}
                return Change(Facts("review.begun", agent=_one(fresh)), writes, actor, body)

            await self._control.transact(added)
        return self._campaigns[campaign.id]

    async def change(
        self,
        review: str,
        event: str,
        after: Callable[[AgentReview], AgentReview | None],
        actor: Actor = _SYSTEM,
        *,
        mark: Callable[[AgentReview], ReviewMark | None] = lambda _: None,
        said: str = "",
    ) -> AgentReview:
        """Put what `after` makes of a review on record, in one transaction with its mark; nothing if it makes nothing.

        Raises:
            NotFoundError: there is no such review.
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            present = self.review(review)
            made = after(present)
            if made is None or made == present:
                return None
            writes = [self._write(made)]
            left = mark(made)
            if left is not None:
                writes.append(Write(REVIEW_MARK, left.agent, mark_doc(left, nonce=self._ids.new("nonce"))))
            parts = (Part("text", {"reason": said}),) if said else ()
            body: dict[str, Any] = {
                "campaign": made.campaign,
                "decisions": len(made.decisions) - len(present.decisions),
                "look": made.look,
                "outcome": made.outcome.value if made.outcome else None,
                "removals": len(made.removals),
                "review": made.id,
                "state": made.state.value,
            }
            return Change(Facts(event, agent=made.agent), tuple(writes), actor, body, parts)

        await self._control.transact(build)
        return self.review(review)

    async def change_campaign(
        self,
        campaign: str,
        event: str,
        after: Callable[[ReviewCampaign], ReviewCampaign | None],
        actor: Actor = _SYSTEM,
        *,
        said: str = "",
    ) -> ReviewCampaign:
        """The same of a campaign.

        Raises:
            NotFoundError: there is no such campaign.
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            present = self.campaign(campaign)
            made = after(present)
            return None if made is None or made == present else self._campaign_change(event, made, actor, said)

        await self._control.transact(build)
        return self.campaign(campaign)

    async def reopen(
        self, campaign: ReviewCampaign, reviews: Sequence[AgentReview], due_us: int, left: Collection[str]
    ) -> None:
        """Have reviews that were answered looked at again, in the campaign's present look; of `left` something is left.

        Raises:
            UnavailableError: it could not be made durable; the next round completes it.
        """
        for at in range(0, len(reviews), _AT_ONCE):
            some = reviews[at : at + _AT_ONCE]

            def again(_: StateView, some: Sequence[AgentReview] = some) -> Change | None:
                fresh = [one for one in map(self.review, (each.id for each in some)) if one.look < campaign.look]
                if not fresh:
                    return None
                # where an agent is under another review by now, that one is the further look
                writes = tuple(
                    self._write(
                        replace(one, look=campaign.look)
                        if one.agent in self._open or one.id not in left
                        else _looked_at_again(one, campaign.look, due_us)
                    )
                    for one in fresh
                )
                body = {"campaign": campaign.id, "look": campaign.look, "reviews": len(fresh)}
                return Change(Facts("review.reopened", agent=_one(fresh)), writes, _SYSTEM, body)

            await self._control.transact(again)

    # -- rows

    def _write(self, one: AgentReview) -> Write:
        return Write(AGENT_REVIEW, one.id, agent_review_doc(one, nonce=self._ids.new("nonce")))

    def _campaign_change(self, event: str, one: ReviewCampaign, actor: Actor, said: str) -> Change:
        body: dict[str, Any] = {
            "campaign": one.id,
            "kind": one.kind.value,
            "look": one.look,
            "open": one.open,
            "schedule": one.scope.name,
        }
        write = Write(REVIEW_CAMPAIGN, one.id, campaign_doc(one, nonce=self._ids.new("nonce")))
        parts = (Part("text", {"reason": said}),) if said else ()
        return Change(Facts(event), (write,), actor, body, parts)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            self._keep(write)

    def _keep(self, write: Write) -> None:
        if write.doc is None:
            return
        match write.kind:
            case "review_campaign":
                self._campaigns[write.key] = campaign_from(write.key, write.doc)
            case "review_mark":
                self._marks[AgentId(write.key)] = mark_from(write.key, write.doc)
            case "agent_review":
                one = agent_review_from(write.key, write.doc)
                if one.id not in self._all:
                    self._of.setdefault(one.campaign, []).append(one.id)
                    self._of_agent.setdefault(one.agent, []).append(one.id)
                self._all[one.id] = one
                if one.open:
                    self._open[one.agent] = one.id
                elif self._open.get(one.agent) == one.id:
                    del self._open[one.agent]
                (self._unsettled.add if one.unsettled else self._unsettled.discard)(one.id)


def _looked_at_again(one: AgentReview, look: int, due_us: int) -> AgentReview:
    from_here = replace(one, look=look, due_us=due_us, extended=False, told=0, outcome=None, ended_us=None)
    return replace(from_here, state=type(one.state).OPEN)


def _one(reviews: Sequence[AgentReview]) -> AgentId | None:
    return reviews[0].agent if len(reviews) == 1 else None
