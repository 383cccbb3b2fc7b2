"""Reviews of agents as people do them, and what is due of them without anybody asking, from end to end.

An answer is put on record by itself; whatever follows from it (a permission taken away, an agent stopped, another look)
is found again from the rows, so a process that ends in between goes on where it was, and repeating it changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any, Final

from accredit.approvals.requests import plain
from accredit.audit.ports import Actor, LogReader
from accredit.identity.model import Operator
from accredit.identity.state import IdentityState
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource, PersonId, ToolId
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.ports import ApprovalDesk
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.reviews.cards import PermissionItem, card_digest
from accredit.lifecycle.reviews.carefulness import carefulness, careless
from accredit.lifecycle.reviews.carrying_out import RemovalKeeper
from accredit.lifecycle.reviews.deciding import AskedDecision, Shown, decided, standing, undecided
from accredit.lifecycle.reviews.gathering import AgentCard, CardGatherer, higher, present_tier
from accredit.lifecycle.reviews.model import (
    ENDED,
    AcceptedIdentity,
    AgentReview,
    AgentReviewState,
    ItemDecision,
    ItemVerdict,
    NeedStatement,
    Removal,
    ReviewCampaign,
    ReviewKind,
    ReviewMark,
    ReviewTrigger,
)
from accredit.lifecycle.reviews.own_words import check_own_words
from accredit.lifecycle.reviews.population import Identity, IdentityStanding, counted, missing, reconciled
from accredit.lifecycle.reviews.recurrence import BUILT_IN, due_us, months_of, schedule_of, selects
from accredit.lifecycle.reviews.report import ReviewReport
from accredit.lifecycle.reviews.reviewers import reviewer_barred
from accredit.lifecycle.reviews.seeding import granted_ever, seeds
from accredit.lifecycle.reviews.service import Reviews, review_id
from accredit.lifecycle.reviews.silence import SilenceStep, silence
from accredit.lifecycle.reviews.triggers import triggers
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.service import Monitor
from accredit.registry.authority import Act
from accredit.registry.handover import manifest_without
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment, ReviewSchedule, Tier
from accredit.registry.restating import Restated
from accredit.registry.service import Registry
from accredit.registry.versions import facets, version_digest

__all__ = ["LeastPrivilege", "ReviewOperations"]

_DAY_US: Final = 86_400_000_000
_ALIVE: Final = frozenset({AgentState.ACTIVE, AgentState.SUSPENDED, AgentState.QUARANTINED})
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_AT_ONCE: Final = 500
"""Reviews that one round changes, at most: the next goes on."""
_CALLS_FIRST: Final = 10
"""After so many reviews calls that wait go first."""
_BEGIN_EVERY_US: Final = 10 * 60_000_000
_PERIOD_DAYS: Final = 92
"""How far back from its beginning a campaign looks for identities that left traces."""
_SERVED: Final = 20_000
"""Cards of which it is known since when somebody has them before them."""
_FEWEST_WORDS: Final = 5
_MAX_REASON: Final = 500
_MOST_ACCEPTED: Final = 1_000
_SYSTEM: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeastPrivilege:
    """What an agent could do without."""

    permissions: tuple[PermissionItem, ...]
    """All that it has."""
    removals: tuple[PermissionItem, ...]
    """Those whose removal is suggested, each with its reason and the calls that would have failed."""
    manifest: Restated
    """Without them, to be applied like any other."""


class ReviewOperations:
    """Campaigns and reviews. Methods of people raise ForbiddenError for who may not."""

    def __init__(
        self,
        *,
        reviews: Reviews,
        cards: CardGatherer,
        removals: RemovalKeeper,
        registry: Registry,
        judging: Judging,
        lifecycle: Lifecycle,
        monitor: Monitor,
        approvals: ApprovalDesk,
        findings: Findings,
        identity: IdentityState,
        records: LogReader,
        clock: Clock,
        ids: IdSource,
        steady: Callable[[Instant], bool] = lambda _: True,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`steady` says whether the wall clock can be relied on: while it cannot, no deadline passes."""
        self.reviews = reviews
        self._cards = cards
        self._removals = removals
        self._registry = registry
        self._judging = judging
        self._lifecycle = lifecycle
        self._monitor = monitor
        self._approvals = approvals
        self._findings = findings
        self._identity = identity
        self._records = records
        self._clock = clock
        self._ids = ids
        self._steady = steady
        self._at = at
        self._permission = Permission(registry)
        self._served: OrderedDict[tuple[str, PersonId], tuple[Digest, int]] = OrderedDict()
        self._decided_boot_us: dict[PersonId, int] = {}
        self._looked_boot_us: int | None = None
        self._alone = asyncio.Lock()

    # -- what people see

    def card(self, review: str) -> AgentCard:
        """The card of an agent under review, as of now. Reads roll-ups; may be called from a thread.

        Raises:
            NotFoundError: no such review, or its agent is not registered any more.
            UnavailableError: the log cannot be read, or contradicts a row it rests on.
        """
        found = self.reviews.review(review)
        made = self._cards.cards(self.reviews.campaign(found.campaign), [found], closely=True)
        if not made:
            raise NotFoundError(Code.NOT_FOUND, f"the agent of review `{review[:80]}` is not registered any more")
        return made[0]

    def served(self, who: Operator, card: AgentCard) -> None:
        """Note that somebody has this card before them: from now on, if it is another than before."""
        key, digest = (card.review.id, who.person), card.digest
        known = self._served.get(key)
        if known is None or known[0] != digest:
            self._served[key] = (digest, self._clock.now().boot_us)
        self._served.move_to_end(key)
        while len(self._served) > _SERVED:
            self._served.popitem(last=False)

    def waiting(self, card: AgentCard) -> tuple[ToolId, ...]:
        """The permissions that wait for a decision, the line of routine ones under its own name."""
        review = card.review
        if not review.open:
            return ()
        return undecided(
            card.items,
            review.decisions,
            look=review.look,
            version=card.version,
            counts=lambda person: self._barred(person, card.agent, review, before=()) is None,
        )

    def narrower(self, card: AgentCard, tools: Collection[ToolId]) -> Mapping[str, Any]:
        """The version that the agent would have without some permissions, as a simulation takes it.

        Raises:
            NotFoundError: one of them is not on the card.
        """
        there = {one.tool for one in card.items}
        if unknown := sorted(set(tools) - there):
            raise NotFoundError(Code.NOT_FOUND, f"there is no permission `{unknown[0][:200]}` on this card")
        form = manifest_without(plain(card.agent.version.manifest), tools)
        return {"digest": version_digest(form), "facets": facets(form), "manifest": form}

    def suggested(self, agent: Agent) -> LeastPrivilege:
        """What an agent could do without, by its use, and its manifest without it. Reads roll-ups; from a thread.

        Raises:
            UnavailableError: the log cannot be read, or contradicts a row this rests on.
        """
        items = self._cards.permissions(agent)
        gone = [one for one in items if one.suggestion is not None and one.suggestion.verdict is ItemVerdict.REMOVE]
        form = manifest_without(plain(agent.version.manifest), [one.tool for one in gone])
        return LeastPrivilege(items, tuple(gone), self._registry.stated_form(form))

    def report(self, campaign: str) -> ReviewReport:
        """What a campaign came to, and why it is not closed. Reads roll-ups; may be called from a thread.

        Raises:
            NotFoundError: there is no such campaign.
            UnavailableError: the log cannot be read.
        """
        found = self.reviews.campaign(campaign)
        reviews = self.reviews.of_campaign(campaign)
        identities = self.identities(found)
        planted = () if found.open else found.seeds
        looks = tuple(
            carefulness([(one.agent, each) for one in reviews for each in one.decisions if each.look == look], planted)
            for look in range(1, found.look + 1)
        )
        shown = {IdentityStanding.MISSING, IdentityStanding.ACCEPTED}
        return ReviewReport(
            campaign=found,
            reviews=reviews,
            identities=tuple(one for one in identities if one.standing in shown),
            population=found.population or counted(identities),
            looks=looks,
            reviewers=tuple(sorted({each.by for one in reviews for each in one.decisions})),
            waiting=self._waits(found, reviews, identities),
        )

    def identities(self, campaign: ReviewCampaign) -> tuple[Identity, ...]:
        """Every identity that was seen, and what it is to a campaign; of one that is about one agent alone, that agent.

        Raises:
            UnavailableError: the log cannot be read.
        """
        here = {one.agent for one in self.reviews.of_campaign(campaign.id)}
        agents = list(self._registry.catalogue.agents())
        if campaign.kind is ReviewKind.TRIGGERED:
            agents = [one for one in agents if one.id in here]
            return reconciled(
                agents, seen=(), findings=(), here=here.__contains__, elsewhere=lambda _: False,
                in_scope=lambda _: True, accepted=campaign.accepted,
            )  # fmt: skip
        schedules = self._registry.review_schedules
        since_day = campaign.begun_us // _DAY_US - _PERIOD_DAYS
        seen = {*self._records.last_use(since_day=since_day), *self._identity.with_credentials()} - {""}

        def in_scope(agent: Agent) -> bool:
            if not selects(campaign.scope, agent, agent.tier):
                return False
            by = schedule_of(agent, agent.tier, schedules).name
            return campaign.kind is ReviewKind.STARTED or by == campaign.scope.name

        return reconciled(
            agents,
            seen=seen,
            findings=self._findings.find(),
            here=here.__contains__,
            elsewhere=lambda agent: self._elsewhere(agent, schedules),
            in_scope=in_scope,
            accepted=campaign.accepted,
        )

    def _elsewhere(self, agent: AgentId, schedules: Sequence[ReviewSchedule]) -> bool:
        """Whether an agent is under another review, or is not due for one."""
        if self.reviews.open_of(agent) is not None:
            return True
        found = self._registry.get(agent)
        return found is not None and self._due_us(found, found.tier, schedules) > self._clock.now().wall_us

    # -- what people do

    async def start(
        self,
        who: Operator,
        *,
        teams: Collection[str] = (),
        tiers: Collection[Tier] = (),
        agents: Collection[str] = (),
        services: Collection[str] = (),
        respond_days: int = 14,
        grace_days: int = 7,
        reason: str = "",
    ) -> ReviewCampaign:
        """Start a campaign on agents in production, whether they are due or not. Of those under review already none.

        Raises:
            ConflictError: it would be about nobody.
            InvalidInputError: a number or the reason is out of bounds.
            UnavailableError: it could not be made durable.
        """
        self._permission.require(Act.RUN_REVIEWS, who)
        if not 1 <= respond_days <= 30 or not 0 <= grace_days <= 14 or not 1 <= len(reason.strip()) <= _MAX_REASON:
            raise InvalidInputError(
                Code.BODY_MALFORMED,
                f"people have 1 to 30 days, then 0 to 14; a reason has 1 to {_MAX_REASON} characters",
            )
        wanted = ReviewSchedule("", frozenset(teams), frozenset(tiers), frozenset(agents), frozenset(services))
        chosen = await asyncio.to_thread(self._chosen, wanted)
        if not chosen:
            raise ConflictError(Code.CONFLICT, "there is no such agent in production that is not under review already")
        campaign = ReviewCampaign(
            id=self._ids.new("rvc"),
            kind=ReviewKind.STARTED,
            scope=wanted,
            reason=reason.strip(),
            begun_us=self._clock.now().wall_us,
            by=who.person,
            respond_us=respond_days * _DAY_US,
            grace_us=grace_days * _DAY_US,
        )
        return await self._begin(campaign, chosen, (), _actor(who))

    def _chosen(self, wanted: ReviewSchedule) -> list[tuple[Agent, Tier | None]]:
        found = []
        for agent in self._registry.catalogue.agents():
            if agent.environment is not Environment.PRODUCTION or agent.state not in _ALIVE:
                continue
            tier = self._tier(agent)
            if selects(wanted, agent, tier) and self.reviews.open_of(agent.id) is None:
                found.append((agent, tier))
        return found

    async def decide(self, who: Operator, review: str, asked: Sequence[AskedDecision], view: str) -> AgentCard:
        """Decide on permissions of an agent as its card showed them; the card as it is after.

        Raises:
            NotFoundError: no such review or permission.
            ConflictError: `review_unseen`, or the card says something else now, or the review is over.
            ForbiddenError: `separation_of_duties`: it is for somebody else to decide.
            InvalidInputError: as `deciding.decided`.
            UnavailableError: it could not be made durable, or not be carried out yet: a round goes on with it.
        """
        card = await asyncio.to_thread(self.card, review)
        agent = card.agent
        self._permission.require(Act.REVIEW_AGENT, who, agent=agent)
        now = self._clock.now()
        known = self._served.get((review, who.person))
        if known is None or known[0] != view:
            raise ConflictError(Code.REVIEW_UNSEEN, Code.REVIEW_UNSEEN.meaning, hint=Code.REVIEW_UNSEEN.remedy)
        # who opens many cards and decides on all of them in a row had the later ones before them no longer than that
        since_us = max(known[1], self._decided_boot_us.get(who.person, 0))
        since_ms = max(now.boot_us - since_us, 0) // 1_000

        def after(present: AgentReview) -> AgentReview:
            self._require_open(present)
            found = self._registry.get(agent.id)
            version = agent.version.digest if found is None else found.version.digest
            before = [one.by for one in present.decisions if one.look < present.look]
            reason = self._barred(who.person, agent, present, before=before)
            if reason is not None:
                raise ForbiddenError(
                    Code.SEPARATION_OF_DUTIES, reason, hint="ask somebody of security who stands on no side of it"
                )
            digest = card_digest(version, present.look, card.items, present.decisions)
            shown = Shown(digest, version, present.look, card.items, since_ms)
            made = decided(asked, shown, who.person, view, now_us=now.wall_us, purpose=card.purpose)
            return replace(present, decisions=(*present.decisions, *made))

        said = "\n".join(f"{one.tool or 'routine'}: {one.reason.strip()}" for one in asked if one.reason.strip())
        await self.reviews.change(review, "review.decided", after, _actor(who), said=said[:20_000])
        self._decided_boot_us[who.person] = self._clock.now().boot_us
        await self._advance(review)
        made = await asyncio.to_thread(self.card, review)
        self.served(who, made)
        return made

    async def state_need(self, who: Operator, review: str, *, needed: bool, text: str) -> AgentReview:
        """Say whether an agent is still needed, and for what, in one's own words.

        Raises:
            NotFoundError: no such review.
            ConflictError: it is over.
            InvalidInputError: `own_words_required`.
            UnavailableError: as `decide`.
        """
        card = await asyncio.to_thread(self.card, review)
        self._permission.require(Act.STATE_NEED, who, agent=card.agent)
        organisation = self._registry.proven_organisation()
        person = organisation.people.get(who.person)
        if person is None or person.bot or person.left:
            raise ForbiddenError(Code.SEPARATION_OF_DUTIES, "a person who is there says whether it is needed")
        told = check_own_words(text, (*card.texts, card.purpose), fewest_words=_FEWEST_WORDS)
        now_us = self._clock.now().wall_us

        def after(present: AgentReview) -> AgentReview:
            self._require_open(present)
            return replace(present, need=NeedStatement(needed, told, who.person, now_us))

        await self.reviews.change(review, "review.need-stated", after, _actor(who), said=told)
        return await self._advance(review)

    async def accept(self, who: Operator, campaign: str, subject: str, reason: str) -> ReviewCampaign:
        """Say why an identity that is on no list is in order all the same.

        Raises:
            NotFoundError: there is no such campaign, or nothing of that id is missing in it.
            ConflictError: the campaign is closed.
            InvalidInputError: the reason is too short or too long.
        """
        self._permission.require(Act.RUN_REVIEWS, who)
        if not 1 <= len(reason.strip()) <= _MAX_REASON:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a reason has 1 to {_MAX_REASON} characters")
        found = self._open_campaign(campaign)
        identities = await asyncio.to_thread(self.identities, found)
        if all(one.subject != subject for one in missing(identities)):
            raise NotFoundError(Code.NOT_FOUND, f"`{subject[:80]}` is not missing in this campaign")
        made = AcceptedIdentity(subject, who.person, self._clock.now().wall_us, reason.strip())

        def after(present: ReviewCampaign) -> ReviewCampaign | None:
            if len(present.accepted) >= _MOST_ACCEPTED:
                raise ConflictError(Code.CONFLICT, f"{_MOST_ACCEPTED} were accepted: answer the findings instead")
            return replace(present, accepted=(*present.accepted, made))

        return await self.reviews.change_campaign(
            campaign, "review.identity-accepted", after, _actor(who), said=reason.strip()
        )

    async def include(self, who: Operator, campaign: str, agent: AgentId) -> AgentReview:
        """Put an agent that is missing in a campaign on its list.

        Raises:
            NotFoundError: no such campaign or agent.
            ConflictError: the campaign is closed, or the agent is under review, or not in production.
        """
        self._permission.require(Act.RUN_REVIEWS, who)
        found, known = self._open_campaign(campaign), self._registry.get(agent)
        if known is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        chosen = known.environment is Environment.PRODUCTION and known.state in _ALIVE
        here = {one.agent for one in self.reviews.of_campaign(campaign)}
        if not chosen or self.reviews.open_of(agent) is not None or agent in here:
            raise ConflictError(Code.CONFLICT, "the agent is under review, or not in force in production")
        await self._begin(found, [(known, self._tier(known))], (), _actor(who))
        return self.reviews.review(review_id(campaign, agent))

    async def close(self, who: Operator, campaign: str) -> ReviewReport:
        """Close a campaign of which everything is answered, carried out and looked up; what it came to.

        Raises:
            NotFoundError: there is no such campaign.
            ConflictError: `review_incomplete`, with what waits.
            UnavailableError: it could not be made durable.
        """
        self._permission.require(Act.RUN_REVIEWS, who)
        self._open_campaign(campaign)
        await self._look_again(campaign)
        report = await asyncio.to_thread(self.report, campaign)
        if report.waiting:
            raise ConflictError(Code.REVIEW_INCOMPLETE, "; ".join(report.waiting)[:500], hint="see its report")
        await self._close(campaign, report.population, who.person, _actor(who))
        return await asyncio.to_thread(self.report, campaign)

    async def _close(self, campaign: str, population: Mapping[str, int], by: PersonId | None, actor: Actor) -> None:
        now_us = self._clock.now().wall_us

        def after(present: ReviewCampaign) -> ReviewCampaign | None:
            if not present.open:
                return None
            if any(one.open for one in self.reviews.of_campaign(campaign)):
                raise ConflictError(Code.REVIEW_INCOMPLETE, "a review of it was begun just now")
            return replace(present, closed_us=now_us, closed_by=by, population=population)

        await self.reviews.change_campaign(campaign, "review.campaign-closed", after, actor)

    def _open_campaign(self, campaign: str) -> ReviewCampaign:
        found = self.reviews.campaign(campaign)
        if not found.open:
            raise ConflictError(Code.CONFLICT, "the campaign is closed")
        return found

    @staticmethod
    def _require_open(review: AgentReview) -> None:
        if review.state is not AgentReviewState.OPEN:
            raise ConflictError(Code.CONFLICT, f"the review is {review.state}")

    def _barred(
        self, person: PersonId, agent: Agent, review: AgentReview, *, before: Collection[PersonId]
    ) -> str | None:
        campaign = self.reviews.campaign(review.campaign)
        return reviewer_barred(
            person,
            agent,
            self._under(review, agent),
            self._registry.proven_organisation(),
            authors=self._registry.authors(agent.id),
            before={*before, *campaign.barred},
            opened_us=max(campaign.look_us, review.begun_us),
            now_us=self._clock.now().wall_us,
        )

    def _standing(self, review: AgentReview, agent: Agent) -> dict[ToolId, ItemDecision]:
        """The newest decision on each permission in this look, of whoever still counts."""
        count = {one.by for one in review.decisions if self._barred(one.by, agent, review, before=()) is None}
        return standing([one for one in review.decisions if one.by in count], review.look, agent.version.digest)

    def _under(self, review: AgentReview, agent: Agent) -> Tier | None:
        """The tier that a review goes by: when it began or now, whichever is higher; None counts as high."""
        now = self._tier(agent)
        return None if now is None or review.tier is None else higher(now, review.tier)

    def _stated(self, review: AgentReview, agent: Agent) -> NeedStatement | None:
        """What an owner of the agent who is there said of its need; the word of one who left since is none."""
        need = review.need
        if need is None or need.by not in {agent.owner, agent.backup_owner}:
            return None
        known = self._registry.proven_organisation().people.get(need.by)
        return need if known is not None and not known.left else None

    # -- from answers to their end

    async def _advance(self, review: str) -> AgentReview:
        """Go on with a review as far as it goes.

        Raises:
            UnavailableError: something could not be made durable; the next round goes on.
        """
        async with self._alone:
            found = self.reviews.review(review)
            if found.state is AgentReviewState.OPEN:
                found = await self._answered(found)
            if found.state is AgentReviewState.CARRYING_OUT:
                found = await self._carried_out(found)
        if found.state in ENDED:
            await self._look_again(found.campaign)
            await self._close_triggered(found.campaign)
        return self.reviews.review(review)

    async def _answered(self, review: AgentReview) -> AgentReview:
        """The review, on its way to its end if everything is answered."""
        agent = self._registry.get(review.agent)
        need = self._stated(review, agent) if agent is not None else None
        if need is None:
            return review
        if not need.needed:
            return await self._ending(review, AgentReviewState.NOT_NEEDED, ())
        card = await asyncio.to_thread(self.card, review.id)
        if self.waiting(card):
            return review
        return await self._ending(review, AgentReviewState.ANSWERED, (), of=card.version)

    async def _ending(
        self,
        review: AgentReview,
        outcome: AgentReviewState,
        unused: Collection[ToolId],
        *,
        of: Digest | None = None,
    ) -> AgentReview:
        """On its way to an end: what was decided is to be taken away, and (of nobody's doing) what is not used.

        INVARIANT: nothing is kept by a word that does not count. Where not everything is answered, what somebody wanted
        gone goes, whether they left since or another version came into force. `of` is the version answered for.
        """

        def after(present: AgentReview) -> AgentReview | None:
            if present.state is not AgentReviewState.OPEN:
                return None
            agent = self._registry.get(present.agent)
            if of is not None and (agent is None or agent.version.digest != of):
                return None  # another version came into force just now, and nobody has answered for that
            said = self._standing(present, agent) if agent is not None else {}
            if outcome is AgentReviewState.ANSWERED and len(present.decisions) != len(review.decisions):
                return None  # somebody decided otherwise just now: what follows from that is looked at anew
            told = {one.tool: one for one in present.decisions if one.look == present.look}
            if outcome is not AgentReviewState.ANSWERED:
                said = {**{tool: one for tool, one in told.items() if one.verdict is ItemVerdict.REMOVE}, **said}
            goes = {tool for tool, one in said.items() if one.verdict is ItemVerdict.REMOVE}
            silent = {one for one in unused if one not in said}
            known = {one.tool for one in present.removals}
            fresh = [Removal(tool, tool not in goes) for tool in sorted((goes | silent) - known)]
            return replace(
                present,
                state=AgentReviewState.CARRYING_OUT,
                outcome=outcome,
                removals=(*present.removals, *fresh),
            )

        return await self.reviews.change(review.id, "review.answered", after)

    async def _carried_out(self, review: AgentReview) -> AgentReview:
        """Stop what is to be stopped, take away what is to go, look it up, and end the review if all of it is so."""
        seeded = self.reviews.campaign(review.campaign).seeded(review.agent)
        outcome = review.outcome or AgentReviewState.ANSWERED
        if outcome in {AgentReviewState.SUSPENDED, AgentReviewState.NOT_NEEDED}:
            await self._suspend(review, outcome)
            self._at("review suspended")
        placed = await self._removals.place(review, seeded)
        now_us = self._clock.now().wall_us
        shown = self._removals.verified(placed, review.agent, seeded)
        left = [one.tool for one in shown if one.verified_us is None]
        self._at("review verified")

        def after(present: AgentReview) -> AgentReview | None:
            if present.state is not AgentReviewState.CARRYING_OUT:
                return None
            made = replace(present, removals=shown)
            return made if left else replace(made, state=outcome, outcome=None, ended_us=now_us)

        event = "review.unverified" if left else "review.ended"
        ended = await self.reviews.change(
            review.id, event, after, mark=lambda made: self._mark(made) if made.state in ENDED else None
        )
        await self._tell(ended, outcome, left, seeded)
        return ended

    async def _suspend(self, review: AgentReview, outcome: AgentReviewState) -> None:
        why = (
            "nobody answered for it in time" if outcome is AgentReviewState.SUSPENDED else "its owner does not need it"
        )
        try:
            await self._lifecycle.suspend(review.agent, REMEDY, f"review {review.id}: {why}")
        except ConflictError as error:
            if error.code is not Code.TRANSITION_REFUSED:
                raise
            # it does not run: there is nothing left to stop

    def _mark(self, review: AgentReview) -> ReviewMark | None:
        agent = self._registry.get(review.agent)
        if agent is None:
            return None
        before = self.reviews.mark_before(review)
        earlier = before.texts if before is not None else ()
        texts = earlier
        if review.need is not None and review.need.text not in earlier:
            texts = (review.need.text, *earlier)[:3]
        catalogue = self._registry.catalogue
        grants = {}
        for grant in agent.version.every_grant:
            tool = catalogue.tool(grant.tool)
            grants[grant.tool] = (str(grant.digest), str(tool.definition_digest) if tool is not None else "")
        now_us = self._clock.now().wall_us
        return ReviewMark(agent.id, review.id, now_us, review.state, agent.version.digest, texts, grants, before)

    async def _tell(
        self, review: AgentReview, outcome: AgentReviewState, left: Sequence[ToolId], seeded: Collection[ToolId]
    ) -> None:
        """People hear of what was done, could not be done, or is to be put right."""
        gone = [one.tool for one in review.removals if one.tool not in seeded]
        if left:
            await self._note(review, "unverified", {"tools": list(left)})
        elif outcome is not AgentReviewState.ANSWERED or gone:
            await self._note(review, outcome.value, {"removed": gone[:100]})
        agent = self._registry.get(review.agent)
        said = standing(review.decisions, review.look, agent.version.digest if agent else Digest(""))
        for verdict in (ItemVerdict.FIX_POLICY, ItemVerdict.INVESTIGATE):
            tools = sorted(tool for tool, one in said.items() if one.verdict is verdict and tool not in seeded)
            if tools and not left:
                await self._note(review, verdict.value, {"tools": tools[:100]})

    async def _note(self, review: AgentReview, what: str, evidence: Mapping[str, Any]) -> None:
        told = {"campaign": review.campaign, "review": review.id, "what": what, **evidence}
        now_us = self._clock.now().wall_us
        await self._monitor.note(Deviation(review.agent, AlertKind.REVIEW, f"{what} {review.id}", told, now_us))

    async def _look_again(self, campaign: str) -> None:
        """Have a campaign looked at again if the look that is over was none; or go on with that.

        Raises:
            UnavailableError: it could not be made durable; the next round goes on.
        """
        found = self.reviews.campaign(campaign)
        reviews = self.reviews.of_campaign(campaign)
        if not found.open or any(one.open for one in reviews if one.look == found.look):
            return
        now_us = self._clock.now().wall_us
        if all(one.look == found.look or not _repeatable(one) for one in reviews):
            said = [(one.agent, each) for one in reviews for each in one.decisions if each.look == found.look]
            planted = [
                one for one in found.seeds
                if (agent := self._registry.get(one.agent)) is not None and one.tool not in self._granted(agent)
            ]  # fmt: skip
            flags = carefulness(said, planted).flags or _of_somebody(careless(said, planted))
            if not flags or not any(_repeatable(one) for one in reviews):
                return
            barred = careless(said, planted)

            def again(present: ReviewCampaign) -> ReviewCampaign | None:
                if present.look != found.look:
                    return None
                return replace(
                    present,
                    look=found.look + 1,
                    look_us=now_us,
                    flags=(*present.flags, *((found.look, why) for why in flags)),
                    barred=present.barred | barred,
                )

            found = await self.reviews.change_campaign(campaign, "review.look-again", again)
            self._at("review look begun")
        waits = [one for one in self.reviews.of_campaign(campaign) if one.look < found.look and _repeatable(one)]
        for at in range(0, len(waits), _AT_ONCE):
            some = waits[at : at + _AT_ONCE]
            cards = await asyncio.to_thread(self._cards.cards, found, some)
            left = frozenset(one.review.id for one in cards if one.alone or one.routine)
            await self.reviews.reopen(found, some, now_us + found.respond_us, left)

    def _granted(self, agent: Agent) -> frozenset[ToolId]:
        return frozenset(one.tool for one in agent.version.every_grant)

    async def _close_triggered(self, campaign: str) -> None:
        """A review of one agent is over with it: nobody closes it."""
        found = self.reviews.campaign(campaign)
        reviews = self.reviews.of_campaign(campaign)
        if found.kind is ReviewKind.TRIGGERED and found.open and reviews and not any(one.open for one in reviews):
            await self._close(campaign, {IdentityStanding.REVIEWED.value: len(reviews)}, None, _SYSTEM)

    def _waits(
        self, campaign: ReviewCampaign, reviews: Sequence[AgentReview], identities: Iterable[Identity]
    ) -> tuple[str, ...]:
        if not campaign.open:
            return ()
        unanswered = sum(one.state is AgentReviewState.OPEN for one in reviews)
        unverified = sum(one.state is AgentReviewState.CARRYING_OUT for one in reviews)
        lost = len(missing(identities))
        return (
            *((f"{unanswered} of {len(reviews)} agents wait for an answer",) if unanswered else ()),
            *((f"what was decided on {unverified} agents is not shown to be so",) if unverified else ()),
            *((f"{lost} identities that were seen are on no list and answered by nobody",) if lost else ()),
        )

    # -- what is due without anybody asking

    async def round(self) -> None:
        """Begin what is due, go on with what was begun, and answer for who does not. What fails goes on in the next.

        Raises:
            UnavailableError: what is registered is not proven.
        """
        self._registry.proven_organisation()
        now = self._clock.now()
        if self._looked_boot_us is None or now.boot_us - self._looked_boot_us >= _BEGIN_EVERY_US:
            await self.begin_due()
            self._looked_boot_us = now.boot_us
        left = _AT_ONCE
        for number, review in enumerate(self.reviews.find(open_=True)):
            if number % _CALLS_FIRST == 0:
                await asyncio.sleep(0)
            if left == 0:
                return
            before = self.reviews.review(review.id)
            try:
                await self._due(before)
            except AccreditError as error:
                _log.error("the review %s of agent %s could not go on: %s", review.id, review.agent, error.message)
                left -= 1
            left -= self.reviews.review(review.id) != before
        for number, review in enumerate(self.reviews.unsettled()):
            if number % _CALLS_FIRST == 0:
                await asyncio.sleep(0)
            await self._kept(review)
        for number, campaign in enumerate(self.reviews.campaigns(open_=True)):
            if number % _CALLS_FIRST == 0:
                await asyncio.sleep(0)
            await self._look_again(campaign.id)
            await self._close_triggered(campaign.id)

    async def _kept(self, review: AgentReview) -> None:
        seeded = self.reviews.campaign(review.campaign).seeded(review.agent)
        try:
            kept = await self._removals.kept(review, seeded)
        except AccreditError as error:
            _log.error("what review %s took away could not be kept so: %s", review.id, error.message)
            return

        def after(present: AgentReview) -> AgentReview | None:
            return replace(present, removals=kept) if present.removals == review.removals else None

        await self.reviews.change(review.id, "review.removals-kept", after)

    async def _due(self, review: AgentReview) -> None:
        agent, now = self._registry.get(review.agent), self._clock.now()
        if agent is None or agent.state in _GONE:
            await self.reviews.change(
                review.id,
                "review.ended",
                lambda one: (
                    replace(one, state=AgentReviewState.GONE, outcome=None, ended_us=now.wall_us) if one.open else None
                ),
            )
            return
        if review.state is AgentReviewState.CARRYING_OUT:
            await self._advance(review.id)
            return
        if not self._steady(now):
            return
        campaign = self.reviews.campaign(review.campaign)
        step = silence(
            self._under(review, agent),
            due_us=review.due_us,
            respond_us=campaign.respond_us,
            grace_us=campaign.grace_us,
            extended=review.extended,
            told=review.told,
            now_us=now.wall_us,
        )
        match step:
            case SilenceStep.NOTHING:
                return
            case SilenceStep.EXTEND:
                due = now.wall_us + campaign.respond_us
                await self.reviews.change(
                    review.id,
                    "review.extended",
                    lambda one: None if one.extended else replace(one, extended=True, told=0, due_us=due),
                )
            case SilenceStep.REMIND:
                await self._note(review, "waits", {"due_us": review.due_us})
                await self.reviews.change(review.id, "review.reminded", lambda one: replace(one, told=1))
            case SilenceStep.TELL:
                await self._note(review, "overdue", {"suspended_us": review.due_us + campaign.grace_us})
                await self.reviews.change(review.id, "review.overdue", lambda one: replace(one, told=2))
            case SilenceStep.REDUCE:
                card = await asyncio.to_thread(self.card, review.id)
                unused = [
                    one.tool
                    for one in card.items
                    if not one.dropped and one.suggestion is not None and one.suggestion.verdict is ItemVerdict.REMOVE
                ]
                await self._ending(review, AgentReviewState.REDUCED, unused)
                await self._advance(review.id)
            case SilenceStep.SUSPEND:
                await self._ending(review, AgentReviewState.SUSPENDED, ())
                await self._advance(review.id)

    async def begin_due(self) -> None:
        """Begin the reviews that schedules and events ask for.

        Raises:
            UnavailableError: it could not be made durable; the next round goes on.
        """
        now = self._clock.now()
        if not self._steady(now):
            return
        scheduled, triggered = await asyncio.to_thread(self._looked_for, now.wall_us)
        for schedule, agents in scheduled.items():
            settings = next((one for one in self._registry.review_schedules if one.name == schedule), BUILT_IN)
            campaign = self._dated(
                ReviewKind.SCHEDULED, settings, self._of_day(schedule, now.wall_us // _DAY_US), "it is due"
            )
            await self._begin(campaign, agents, (), _SYSTEM)
        for agent, tier, why in triggered[:_AT_ONCE]:
            await self._triggered(agent, tier, why)

    def _of_day(self, schedule: str, day: int) -> str:
        """The campaign that a schedule begins on a day, or goes on with; another if the day's was closed already."""
        named = (_named("schedule", schedule, day, *again) for again in chain([()], ([one] for one in count(2))))
        return next(one for one in named if not self.reviews.known(one) or self.reviews.campaign(one).open)

    def _dated(self, kind: ReviewKind, settings: ReviewSchedule, id_: str, reason: str) -> ReviewCampaign:
        return ReviewCampaign(
            id=id_,
            kind=kind,
            scope=settings,
            reason=reason,
            begun_us=self._clock.now().wall_us,
            by=None,
            respond_us=settings.respond_days * _DAY_US,
            grace_us=settings.grace_days * _DAY_US,
        )

    def _looked_for(
        self, now_us: int
    ) -> tuple[
        dict[str, list[tuple[Agent, Tier | None]]], list[tuple[Agent, Tier | None, list[tuple[ReviewTrigger, str]]]]
    ]:
        """Agents that are due, by schedule; and those that something happened to."""
        schedules = self._registry.review_schedules
        alerts: dict[AgentId, list[Any]] = {}
        for alert in self._monitor.alerts():
            if alert.agent is not None and alert.closed_us is None:
                alerts.setdefault(alert.agent, []).append(alert)
        findings: dict[AgentId, list[Any]] = {}
        for finding in self._findings.find(open_=True):
            if finding.seen.agent is not None:
                findings.setdefault(finding.seen.agent, []).append(finding)
        due: dict[str, list[tuple[Agent, Tier | None]]] = {}
        happened = []
        for agent in self._registry.catalogue.agents():
            if agent.environment is not Environment.PRODUCTION or agent.state not in _ALIVE:
                continue
            before = self._looked_at(agent)
            why = list(triggers(agent, self.reviews.mark(agent.id), before, alerts.get(agent.id, ()),
                                findings.get(agent.id, ())))  # fmt: skip
            open_ = self.reviews.open_of(agent.id)
            if open_ is not None:
                why = [one for one in why if one not in open_.triggers]
            elif self._due_us(agent, agent.tier, schedules) <= now_us:
                tier = self._tier(agent)
                due.setdefault(schedule_of(agent, agent.tier, schedules).name, []).append((agent, tier))
                continue
            else:
                # one that was begun and has no review is gone on with: the process ended in between
                why = [one for one in why if not self.reviews.size(_of_trigger(agent, one))]
            if why:
                happened.append((agent, self._tier(agent), why))
        return due, happened

    def _looked_at(self, agent: Agent) -> AgentVersion | None:
        """The version that people looked at last: in a review, or else when they first signed the agent off."""
        mark = self.reviews.mark(agent.id)
        if mark is not None:
            digest: str | None = mark.version
        else:
            used = [one for one in self._approvals.find(agent=agent.id) if one.used_us is not None]
            first = min(used, key=lambda one: (one.used_us or 0, one.id), default=None)
            digest = first.subject.digest if first is not None else None
        if digest is None or digest == agent.version.digest:
            return None
        return next((one for one in self._registry.versions(agent.id) if one.digest == digest), None)

    def _due_us(self, agent: Agent, tier: Tier | None, schedules: Sequence[ReviewSchedule]) -> int:
        mark = self.reviews.mark(agent.id)
        last_us = mark.at_us if mark is not None else agent.registered_us
        schedule = schedule_of(agent, tier, schedules)
        return due_us(last_us, months_of(schedule, tier), schedule.day)

    async def _triggered(self, agent: Agent, tier: Tier | None, why: list[tuple[ReviewTrigger, str]]) -> None:
        open_ = self.reviews.open_of(agent.id)
        if open_ is not None:
            await self.reviews.change(
                open_.id,
                "review.triggered",
                lambda one: replace(one, triggers=(*one.triggers, *(each for each in why if each not in one.triggers))),
            )
            return
        settings = schedule_of(agent, agent.tier, self._registry.review_schedules)
        reason = ", ".join(sorted({kind.value for kind, _ in why}))
        campaign = self._dated(ReviewKind.TRIGGERED, settings, _of_trigger(agent, why[0]), reason)
        await self._begin(campaign, [(agent, tier)], tuple(why), _SYSTEM)

    async def _begin(
        self,
        campaign: ReviewCampaign,
        agents: Sequence[tuple[Agent, Tier | None]],
        why: tuple[tuple[ReviewTrigger, str], ...],
        actor: Actor,
    ) -> ReviewCampaign:
        now_us = self._clock.now().wall_us
        if not self.reviews.known(campaign.id) and campaign.kind is not ReviewKind.TRIGGERED:
            servers = self._registry.catalogue.servers()
            chosen = [agent for agent, _ in agents]
            ever = seeds(self._ids.secret(16).hex(), chosen, self._ever, servers, now_us=now_us)
            campaign = replace(campaign, seeds=ever)
        if not self.reviews.known(campaign.id):
            campaign = replace(campaign, look_us=now_us)
        reviews = [
            AgentReview(
                id=review_id(campaign.id, agent.id),
                campaign=campaign.id,
                agent=agent.id,
                tier=tier,
                begun_us=now_us,
                due_us=now_us + campaign.respond_us,
                triggers=why,
                look=campaign.look,
            )
            for agent, tier in agents
        ]
        return await self.reviews.begin(campaign, reviews, actor)

    def _ever(self, agent: Agent) -> frozenset[ToolId]:
        versions = self._registry.versions(agent.id)
        return granted_ever(agent, ({one.tool for one in version.every_grant} for version in versions))

    def _tier(self, agent: Agent) -> Tier | None:
        try:
            return present_tier(self._judging, agent)
        except AccreditError:
            return None  # nobody can tell now: it counts as high


def _repeatable(review: AgentReview) -> bool:
    """Whether people decided on it, so that others can look again."""
    return review.state is AgentReviewState.ANSWERED


def _of_somebody(people: Collection[PersonId]) -> tuple[str, ...]:
    return ("somebody's decisions do not count",) if people else ()


def _named(what: str, *parts: object) -> str:
    return f"rvc_{digest_value('review-campaign', [what, *parts]).removeprefix('sha256:')[:32]}"


def _of_trigger(agent: Agent, why: tuple[ReviewTrigger, str]) -> str:
    return _named("trigger", agent.id, why[0].value, why[1])


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
