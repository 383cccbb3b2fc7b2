"""What people can do to stores of memory and knowledge, with the question of who may asked first."""

from __future__ import annotations

from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.permission import Permission, require_admin_scope
from accredit.lifecycle.store_reviews import ReviewedItem, StoreReviews
from accredit.lifecycle.stored import Kept, Purge, Review, ReviewVerdict, Scan
from accredit.lifecycle.stores import StoreInventory, Stores
from accredit.registry.authority import Act
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["StoreOperations"]


class StoreOperations:
    """Acts of people. Every method raises ForbiddenError (`not_authorised`) for whoever may not do it."""

    def __init__(self, stores: Stores, reviews: StoreReviews, registry: Registry) -> None:
        self._stores = stores
        self._reviews = reviews
        self._registry = registry
        self._permission = Permission(registry)

    async def inventory(self, who: Operator, store: str) -> StoreInventory:
        """What a store can do and holds. Raises as `Stores.inventory`."""
        self._require_scanner(who, store, changes=False)
        return await self._stores.inventory(store)

    async def scan(self, who: Operator, store: str, namespace: str) -> Scan:
        """Look for personal data and secrets in a namespace. Raises as `Stores.scan`."""
        self._require_scanner(who, store)
        return await self._stores.scan(store, namespace, _actor(who))

    async def plan(self, who: Operator, agent: AgentId, store: str, namespace: str) -> Purge:
        """What a purge would do. Raises as `Stores.plan`."""
        self._permission.require(Act.PURGE_STORE, who, agent=self._known(agent))
        return await self._stores.plan(agent, store, namespace, who)

    async def purge(self, who: Operator, purge: str) -> Purge:
        """Carry a plan out, or ask for the sign-off that it takes. Raises as `Stores.ask`."""
        self._permission.require(Act.PURGE_STORE, who, agent=self._purged(who, purge))
        return await self._stores.ask(purge, who)

    async def verify(self, who: Operator, purge: str) -> tuple[Purge, int]:
        """Ask the store anew. Raises as `Stores.verify`."""
        self._permission.require(Act.SCAN_STORE, who, agent=self._purged(who, purge))
        return await self._stores.verify(purge)

    async def begin_review(self, who: Operator, agent: AgentId, store: str, namespace: str) -> Review:
        """Begin the review of an agent's part in shared knowledge. Raises as `StoreReviews.begin`."""
        self._permission.require(Act.REVIEW_STORE, who, agent=self._known(agent))
        return await self._reviews.begin(agent, store, namespace, who)

    async def review_items(
        self, who: Operator, review: str, after: str | None = None
    ) -> tuple[tuple[ReviewedItem, ...], str | None]:
        """A page of what is reviewed: text that may be personal, shown to reviewers alone.

        Raises as `StoreReviews.items`.
        """
        agent = self._known(self._reviews.of(review).agent)
        self._permission.require(Act.REVIEW_STORE, who, agent=agent, changes=False)
        return await self._reviews.items(review, after)

    async def decide(
        self, who: Operator, review: str, item: str, digest: Digest, verdict: ReviewVerdict, to: AgentId | None = None
    ) -> Kept:
        """Decide on one item as it was shown. Raises as `StoreReviews.decide`."""
        self._require_reviewer(who, review)
        return await self._reviews.decide(review, item, digest, verdict, to, who)

    async def decide_clean(self, who: Operator, review: str, verdict: ReviewVerdict) -> Review:
        """Decide on every item in which nothing was found. Raises as `StoreReviews.decide_clean`."""
        self._require_reviewer(who, review)
        return await self._reviews.decide_clean(review, verdict, who)

    def _require_scanner(self, who: Operator, store: str, *, changes: bool = True) -> None:
        known = self._registry.stores.get(store)
        where = known.environment if known else None
        self._permission.require(Act.SCAN_STORE, who, environment=where, changes=changes)

    def _purged(self, who: Operator, purge: str) -> Agent:
        require_admin_scope(who)  # whose it is comes after what the token can do
        return self._known(self._stores.purge_of(purge).selector.agent)

    def _require_reviewer(self, who: Operator, review: str) -> None:
        require_admin_scope(who)
        self._permission.require(Act.REVIEW_STORE, who, agent=self._known(self._reviews.of(review).agent))

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
