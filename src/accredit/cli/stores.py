"""Stores of memory and knowledge: what agents keep in them, and purges and reviews of it."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, client, listed, segment, shown

__all__ = ["app"]

app = App()
store = App(name="store", help="Stores of memory and knowledge, and what agents keep in them.")
review = App(name="review", help="Reviews of shared knowledge, item by item.")
app.command(store)
store.command(review)

_PURGE = ("id", "agent", "store", "namespace", "state", "delete", "deleted", "approval", "certified", "open")


@store.command(name="list")
def _store_list(name: str | None = None, *, page: Page = FIRST, output: Out = TABLE) -> None:
    """List registered stores or, of one store, its namespaces with what was found in them.

    Args:
        name: A store.
    """
    if name is None:
        listed(
            "/api/v1/stores", output, "name", "environment", "adapter", "location", "namespaces", "shared", page=page
        )
    else:
        listed(
            f"/api/v1/stores/{segment(name)}/namespaces", output, "namespace", "items", "bytes", "scanned", "flagged"
        )


@store.command(name="scan")
def _store_scan(name: str, namespace: str, *, output: Out = TABLE) -> int:
    """Look for personal data and secrets in a namespace, or see how far that is; tells kinds and counts, no values."""
    return act(f"/api/v1/stores/{segment(name)}/scan", output, {"namespace": namespace})


@store.command(name="scans")
def _store_scans(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List what the newest scan of each namespace found, by kind and count."""
    columns = ("store", "namespace", "state", "items", "flagged", "cut", "findings", "ended")
    listed("/api/v1/store-scans", output, *columns, page=page)


@store.command(name="plan")
def _store_plan(agent: str, name: str, namespace: str, *, output: Out = TABLE) -> int:
    """Count what a purge of an agent's items in a namespace would do. Nothing is changed.

    Args:
        agent: The agent, as ENVIRONMENT/NAME or by its id.
        name: The store.
    """
    return act("/api/v1/store-purges", output, {"agent": agent, "store": name, "namespace": namespace})


@store.command(name="purge")
def _store_purge(id_: Id, *, output: Out = TABLE) -> int:
    """Carry out a plan, or ask for the sign-off that it takes (exit 3); again: see how far it is."""
    with client() as api:
        before = api.get(f"/api/v1/store-purges/{segment(id_)}")
        if before["state"] in {"ended", "refused"}:
            return shown(api, before, output)
    return act(f"/api/v1/store-purges/{segment(id_)}/run", output, {})


@store.command(name="purges")
def _store_purges(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List purges, planned, running and ended."""
    listed("/api/v1/store-purges", output, *_PURGE, page=page)


@store.command(name="verify")
def _store_verify(id_: Id, *, output: Out = TABLE) -> int:
    """Ask the store anew whether what a purge deleted is still gone."""
    return act(f"/api/v1/store-purges/{segment(id_)}/verify", output, {})


@review.command(name="list")
def _review_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List reviews of shared knowledge."""
    columns = ("id", "agent", "store", "namespace", "begun", "decided", "clean")
    listed("/api/v1/store-reviews", output, *columns, page=page)


@review.command(name="begin")
def _review_begin(agent: str, name: str, namespace: str, *, output: Out = TABLE) -> int:
    """Begin the review of an agent's part in shared knowledge.

    Args:
        agent: The agent, as ENVIRONMENT/NAME or by its id.
        name: The store.
    """
    return act("/api/v1/store-reviews", output, {"agent": agent, "store": name, "namespace": namespace})


@review.command(name="items")
def _review_items(id_: Id, *, page: Page = FIRST, output: Out = TABLE) -> None:
    """Show the items of a review: what they say, what was found in them, and what was decided."""
    columns = ("item", "digest", "mine", "flagged", "verdict", "text")
    listed(f"/api/v1/store-reviews/{segment(id_)}/items", output, *columns, page=page)


@review.command(name="decide")
def _review_decide(
    id_: Id,
    item: str,
    verdict: Literal["keep", "delete", "reassign"],
    *,
    digest: str,
    to: str | None = None,
    output: Out = TABLE,
) -> int:
    """Decide on one item as it was shown.

    Args:
        item: The item's id.
        verdict: What becomes of it.
        digest: Of what `store review items` showed.
        to: The agent that a reassigned item belongs to from now on.
    """
    body = {"item": item, "verdict": verdict, "digest": digest, "to": to}
    return act(f"/api/v1/store-reviews/{segment(id_)}/decide", output, body)


@review.command(name="clean")
def _review_clean(id_: Id, verdict: Literal["keep", "delete"], *, output: Out = TABLE) -> int:
    """Decide on every item in which nothing was found and on which nobody decided by itself."""
    return act(f"/api/v1/store-reviews/{segment(id_)}/clean", output, {"verdict": verdict})
