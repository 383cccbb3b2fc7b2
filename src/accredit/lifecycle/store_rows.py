"""The kinds of control state that scans, purges and reviews of stores are kept in, and their reading and writing.

kind            key                document
store_scan      digest of place    the newest scan of a namespace: counts, and how far it is
store_purge     purge id           one purge, from its plan to its outcome; never removed
store_review    review id          the review of one agent's part in shared knowledge
store_decision  review/item        what a person decided on one item; the item is a keyed digest of its id

No document holds anything of what an item says. A `nonce` keeps the digests of rows, which stand in the log in clear,
from giving away what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import AgentId
from accredit.lifecycle.stored import (
    Disposition,
    Kept,
    KeyDestroyed,
    Purge,
    PurgeCounts,
    PurgeState,
    ResidualBytes,
    Review,
    ReviewVerdict,
    Scan,
    Selector,
    StoreFinding,
    StoreOutcome,
)

__all__ = [
    "DECISION",
    "PURGE",
    "REVIEW",
    "SCAN",
    "decision_doc",
    "decision_from",
    "decision_key",
    "outcome_doc",
    "outcome_from",
    "purge_doc",
    "purge_from",
    "review_doc",
    "review_from",
    "scan_doc",
    "scan_from",
    "scan_key",
]

DECISION: Final = "store_decision"
PURGE: Final = "store_purge"
REVIEW: Final = "store_review"
SCAN: Final = "store_scan"


def scan_key(store: str, namespace: str) -> str:
    return digest_value("store-place", {"namespace": namespace, "store": store})


def scan_doc(scan: Scan, *, nonce: str) -> dict[str, Any]:
    return {
        "begun_us": scan.begun_us,
        "cursor": scan.cursor,
        "cut": scan.cut,
        "detector": scan.detector,
        "ended_us": scan.ended_us,
        "findings": [[one.kind, one.data_class, one.items, one.values] for one in scan.findings],
        "flagged": scan.flagged,
        "items": scan.items,
        "namespace": scan.namespace,
        "nonce": nonce,
        "store": scan.store,
    }


def scan_from(doc: Mapping[str, Any]) -> Scan:
    return Scan(
        store=doc["store"],
        namespace=doc["namespace"],
        detector=doc["detector"],
        begun_us=doc["begun_us"],
        items=doc["items"],
        flagged=doc["flagged"],
        findings=tuple(StoreFinding(*one) for one in doc["findings"]),
        cursor=doc["cursor"],
        ended_us=doc["ended_us"],
        cut=doc["cut"],
    )


def _selector_from(doc: Mapping[str, Any]) -> Selector:
    return Selector(**{**doc, "agent": AgentId(doc["agent"])})


def outcome_doc(outcome: StoreOutcome) -> dict[str, Any]:
    """An outcome as receipts hold it."""
    return {
        "adapter": outcome.adapter,
        "adapter_version": outcome.adapter_version,
        "agent": outcome.agent,
        "api_absent": outcome.api_absent,
        "approvers": list(outcome.approvers),
        "begun_us": outcome.begun_us,
        "certified": outcome.certified,
        "deleted": outcome.deleted,
        "ended_us": outcome.ended_us,
        "holds": list(outcome.holds),
        "id": outcome.id,
        "items_after": outcome.items_after,
        "items_before": outcome.items_before,
        "keys": [
            {"fingerprint": one.fingerprint, "pending_until_us": one.pending_until_us, "scope": one.scope}
            for one in outcome.keys
        ],
        "methods": list(outcome.methods),
        "operator": outcome.operator,
        "plan": outcome.plan,
        "residual": outcome.residual.value,
        "residual_method": outcome.residual_method,
        "scope": dict(outcome.scope),
        "skipped": dict(outcome.skipped),
        "store": outcome.store,
        "unreachable": list(outcome.unreachable),
    }


def outcome_from(doc: Mapping[str, Any]) -> StoreOutcome:
    return StoreOutcome(
        id=doc["id"],
        agent=AgentId(doc["agent"]),
        store=doc["store"],
        adapter=doc["adapter"],
        adapter_version=doc["adapter_version"],
        scope=doc["scope"],
        plan=None if doc["plan"] is None else Digest(doc["plan"]),
        items_before=doc["items_before"],
        items_after=doc["items_after"],
        deleted=doc["deleted"],
        methods=tuple(doc["methods"]),
        keys=tuple(KeyDestroyed(one["scope"], one["fingerprint"], one["pending_until_us"]) for one in doc["keys"]),
        api_absent=doc["api_absent"],
        residual=ResidualBytes(doc["residual"]),
        residual_method=doc["residual_method"],
        skipped=doc["skipped"],
        holds=tuple(doc["holds"]),
        unreachable=tuple(doc["unreachable"]),
        operator=doc["operator"],
        approvers=tuple(doc["approvers"]),
        begun_us=doc["begun_us"],
        ended_us=doc["ended_us"],
    )


def purge_doc(purge: Purge, *, nonce: str) -> dict[str, Any]:
    return {
        "adapter": purge.adapter,
        "adapter_version": purge.adapter_version,
        "approvers": list(purge.approvers),
        "basis": purge.basis,
        "begun_us": purge.begun_us,
        "by": purge.by,
        "counts": {one.value: count for one, count in purge.counts.of.items()},
        "credential": purge.credential,
        "deleted": purge.deleted,
        "entry": purge.entry,
        "failing_us": purge.failing_us,
        "holds": list(purge.holds),
        "id": purge.id,
        "nonce": nonce,
        "outcome": None if purge.outcome is None else outcome_doc(purge.outcome),
        "plan": purge.plan,
        "planned_us": purge.planned_us,
        "procedure": purge.procedure,
        "request": purge.request,
        "scope": purge.selector.document(),
        "state": purge.state.value,
        "why": purge.why,
    }


def purge_from(doc: Mapping[str, Any]) -> Purge:
    return Purge(
        id=doc["id"],
        selector=_selector_from(doc["scope"]),
        entry=doc["entry"],
        plan=Digest(doc["plan"]),
        counts=PurgeCounts({Disposition(name): count for name, count in doc["counts"].items()}),
        holds=tuple(doc["holds"]),
        state=PurgeState(doc["state"]),
        by=doc["by"],
        credential=doc["credential"],
        basis=doc["basis"],
        planned_us=doc["planned_us"],
        adapter=doc["adapter"],
        adapter_version=doc["adapter_version"],
        request=doc["request"],
        approvers=tuple(doc["approvers"]),
        begun_us=doc["begun_us"],
        deleted=doc["deleted"],
        why=doc["why"],
        outcome=None if doc["outcome"] is None else outcome_from(doc["outcome"]),
        procedure=doc["procedure"],
        failing_us=doc["failing_us"],
    )


def review_doc(review: Review, *, nonce: str) -> dict[str, Any]:
    return {
        "agent": review.agent,
        "begun_us": review.begun_us,
        "bulk": None if review.bulk is None else review.bulk.value,
        "bulk_by": review.bulk_by,
        "bulk_to": review.bulk_to,
        "bulk_us": review.bulk_us,
        "by": review.by,
        "decided": review.decided,
        "id": review.id,
        "kind": review.kind,
        "namespace": review.namespace,
        "nonce": nonce,
        "store": review.store,
    }


def review_from(doc: Mapping[str, Any]) -> Review:
    return Review(
        id=doc["id"],
        store=doc["store"],
        namespace=doc["namespace"],
        agent=AgentId(doc["agent"]),
        kind=doc["kind"],
        by=doc["by"],
        begun_us=doc["begun_us"],
        decided=doc["decided"],
        bulk=None if doc["bulk"] is None else ReviewVerdict(doc["bulk"]),
        bulk_to=None if doc["bulk_to"] is None else AgentId(doc["bulk_to"]),
        bulk_us=doc["bulk_us"],
        bulk_by=doc["bulk_by"],
    )


def decision_key(review: str, item: str, *, nonce: str) -> str:
    """Under which a decision on an item is kept; `nonce` is the review's own."""
    return f"{review}/{digest_value('reviewed-item', {'item': item, 'nonce': nonce})}"


def decision_doc(kept: Kept, *, nonce: str) -> dict[str, Any]:
    return {
        "at_us": kept.at_us,
        "by": kept.by,
        "item": kept.item,
        "nonce": nonce,
        "to": kept.to,
        "verdict": kept.verdict.value,
    }


def decision_from(doc: Mapping[str, Any]) -> Kept:
    return Kept(
        Digest(doc["item"]),
        ReviewVerdict(doc["verdict"]),
        None if doc["to"] is None else AgentId(doc["to"]),
        doc["by"],
        doc["at_us"],
    )
