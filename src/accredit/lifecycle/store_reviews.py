"""Reviews of shared knowledge: people say of each item whether it stays, goes, or belongs to another agent.

Nothing is dropped whole. Several items are decided at once only where the detector found nothing in them, and a
decision is bound to what the item said: once it says something else, it waits for a person again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource
from accredit.lifecycle.dispositions import KNOWLEDGE
from accredit.lifecycle.store_rows import (
    DECISION,
    REVIEW,
    decision_doc,
    decision_from,
    decision_key,
    review_doc,
    review_from,
)
from accredit.lifecycle.stored import Item, Kept, Review, ReviewVerdict, Selector
from accredit.lifecycle.stores import Stores
from accredit.registry.model import Agent

__all__ = ["ReviewedItem", "StoreReviews"]

MOST_DECIDED: Final = 20_000
"""Decisions on single items in one review."""


@dataclass(frozen=True, slots=True)
class ReviewedItem:
    """One item as a person is shown it."""

    item: Item
    flagged: tuple[tuple[str, int], ...]
    """Kinds of values the detector saw in it, and how many of each."""
    mine: bool
    """Whether it is the reviewed agent's: others' items are not decided on here."""
    verdict: ReviewVerdict | None
    """What holds for it now."""
    alone: bool
    """Whether a person decided on it by itself."""


class StoreReviews:
    """The one that keeps what people decided on items of shared knowledge."""

    def __init__(
        self,
        control: ControlLog,
        stores: Stores,
        *,
        agent: Callable[[AgentId], Agent | None],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._control = control
        self._stores = stores
        self._agent = agent
        self._clock = clock
        self._ids = ids

    # -- reading

    def of(self, review: str) -> Review:
        """The review of that id.

        Raises:
            NotFoundError: there is none.
        """
        row = self._control.view.get(REVIEW, review)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no review `{review[:80]}` of a store")
        return review_from(row.doc)

    def find(self, agent: AgentId | None = None) -> tuple[Review, ...]:
        """Reviews, newest first."""
        found = (review_from(row.doc) for row in self._control.view.scan(REVIEW))
        return tuple(sorted((one for one in found if agent in {None, one.agent}), key=lambda one: -one.begun_us))

    def reviewed(self, selector: Selector) -> Callable[[Item], ReviewVerdict | None]:
        """What was decided on an item in the newest review of an agent's part in a namespace."""
        review = self._newest(selector.agent, selector.store, selector.namespace)
        if review is None:
            return lambda _: None
        return lambda item: self._verdict(review, item)[0]

    def _newest(self, agent: AgentId, store: str, namespace: str) -> Review | None:
        there = (one for one in self.find(agent) if (one.store, one.namespace) == (store, namespace))
        return next(there, None)

    def _verdict(self, review: Review, item: Item) -> tuple[ReviewVerdict | None, bool]:
        row = self._control.view.get(DECISION, self._key(review, item.id))
        if row is not None:
            kept = decision_from(row.doc)
            return (kept.verdict, True) if kept.item == item.digest else (None, False)
        if review.bulk is None or (item.created_us is not None and item.created_us > (review.bulk_us or 0)):
            return None, False
        return (review.bulk, False) if self._stores.clean(item) else (None, False)

    def _key(self, review: Review, item: str) -> str:
        row = self._control.view.get(REVIEW, review.id)
        return decision_key(review.id, item, nonce=row.doc["nonce"] if row else "")

    async def items(self, review: str, after: str | None) -> tuple[tuple[ReviewedItem, ...], str | None]:
        """A page of what is reviewed, with what was seen in it.

        Raises:
            NotFoundError: no such review.
            UnavailableError: the store cannot be read.
        """
        found = self.of(review)
        store = self._stores.store(found.store)
        items, following = await self._stores.sample_items(found.store, found.namespace, after)
        return tuple(self._shown(found, item, store.owner_field) for item in items), following

    def _shown(self, review: Review, item: Item, owner_field: str | None) -> ReviewedItem:
        verdict, alone = self._verdict(review, item)
        mine = self._is_its(review, item, owner_field)
        return ReviewedItem(item, tuple(sorted(self._stores.flagged(item).items())), mine, verdict, alone)

    def _is_its(self, review: Review, item: Item, owner_field: str | None) -> bool:
        agent = self._agent(review.agent)
        names = {review.agent, agent.name} if agent is not None else {review.agent}
        return owner_field is not None and item.fields.get(owner_field) in names

    # -- reviewing

    async def begin(self, agent: AgentId, store: str, namespace: str, who: Operator) -> Review:
        """Begin the review of an agent's part in shared knowledge; one that is there already is given back.

        Raises:
            NotFoundError: the agent never declared that namespace of the store.
            InvalidInputError: it is not shared knowledge: what is the agent's alone is purged by plan.
        """
        known = self._stores.store(store)
        entry = next(
            (
                one
                for one in self._stores.entries(agent)
                if (one.get("store"), one.get("namespace")) == (store, namespace)
            ),
            None,
        )
        if entry is None:
            raise NotFoundError(Code.STORE_UNKNOWN, f"the agent never declared `{namespace[:80]}` of `{store[:80]}`")
        if entry["kind"] != KNOWLEDGE or not known.shared:
            raise InvalidInputError(
                Code.BODY_MALFORMED, "only shared knowledge is reviewed item by item",
                hint="what is an agent's alone is purged by plan: `accredit store plan`",
            )  # fmt: skip
        before = self._newest(agent, store, namespace)
        if before is not None:
            return before
        made = Review(
            id=self._ids.new("srv"),
            store=store,
            namespace=namespace,
            agent=agent,
            kind=str(entry["kind"]),
            by=who.person,
            begun_us=self._clock.now().wall_us,
            decided=0,
            bulk=None,
            bulk_to=None,
            bulk_us=None,
            bulk_by=None,
        )
        nonce = self._ids.secret(16).hex()
        change = self._change("store.review-begun", made, who, nonce=nonce)
        await self._control.transact(lambda _: change)
        return made

    async def decide(
        self, review: str, item: str, digest: Digest, verdict: ReviewVerdict, to: AgentId | None, who: Operator
    ) -> Kept:
        """Decide on one item as it was shown, by its digest.

        Raises:
            NotFoundError: no such review or item, or no such agent to give it to.
            InvalidInputError: `to` and the verdict do not go together.
            ConflictError: the item says something else now, is not the agent's, or too much was decided already.
            UnavailableError: the store cannot be read or, to give an item to another, written.
        """
        found = self.of(review)
        if (to is not None) != (verdict is ReviewVerdict.REASSIGN):
            raise InvalidInputError(Code.BODY_MALFORMED, "an item that is reassigned, and no other, needs an agent")
        taker = None if to is None else self._agent(to)
        if to is not None and taker is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{to[:80]}`")
        there = await self._stores.items_by_id(found.store, found.namespace, [item])
        if not there:
            raise NotFoundError(Code.NOT_FOUND, "there is no such item (any more)")
        if there[0].digest != digest:
            raise ConflictError(Code.CONFLICT, "the item says something else now", hint="look at it again")
        if not self._is_its(found, there[0], self._stores.store(found.store).owner_field):
            raise ConflictError(Code.CONFLICT, "the item is not the agent's")
        kept = Kept(digest, verdict, to, who.person, self._clock.now().wall_us)

        def build(view: StateView) -> Change:
            row = view.get(REVIEW, review)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, "there is no such review any more")
            present = review_from(row.doc)
            key = decision_key(review, item, nonce=row.doc["nonce"])
            again = view.get(DECISION, key) is not None
            if present.decided >= MOST_DECIDED and not again:
                raise ConflictError(Code.CONFLICT, f"more than {MOST_DECIDED} items were decided on one by one")
            after = replace(present, decided=present.decided + (not again))
            decision = Write(DECISION, key, decision_doc(kept, nonce=self._ids.secret(16).hex()))
            return self._change("store.item-decided", after, who, nonce=row.doc["nonce"], also=[decision],
                                verdict=verdict)  # fmt: skip

        await self._control.transact(build)
        if taker is not None:
            await self._stores.assign(found.store, found.namespace, item, taker.name)
        return kept

    async def decide_clean(self, review: str, verdict: ReviewVerdict, who: Operator) -> Review:
        """Decide on every item in which the detector finds nothing, and on which nobody decided by itself.

        Raises:
            NotFoundError: no such review.
            InvalidInputError: items are given to other agents one by one.
        """
        if verdict is ReviewVerdict.REASSIGN:
            raise InvalidInputError(Code.BODY_MALFORMED, "items are given to other agents one by one")
        now_us = self._clock.now().wall_us

        def build(view: StateView) -> Change:
            row = view.get(REVIEW, review)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no review `{review[:80]}` of a store")
            after = replace(review_from(row.doc), bulk=verdict, bulk_us=now_us, bulk_by=who.person)
            return self._change("store.clean-decided", after, who, nonce=row.doc["nonce"], verdict=verdict)

        await self._control.transact(build)
        return self.of(review)

    def _change(
        self,
        kind: str,
        review: Review,
        who: Operator,
        *,
        nonce: str,
        also: Sequence[Write] = (),
        verdict: ReviewVerdict | None = None,
    ) -> Change:
        writes = (Write(REVIEW, review.id, review_doc(review, nonce=nonce)), *also)
        body = {"decided": review.decided, "review": review.id, "store": review.store,
                "verdict": verdict.value if verdict else None}  # fmt: skip
        actor = Actor(person=who.person, credential=who.credential, basis=who.basis)
        return Change(Facts(kind, agent=review.agent), writes, actor, body)
