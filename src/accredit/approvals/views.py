"""What somebody who votes is shown: everything judged, in raw values, as one text in which nothing deceives the eye.

The text is JSON, so that no value can imitate what stands around it; the vote names its digest. Of the
voting it shows the obligations alone, under which others approved: that is part of what is approved. A vote without
one does not change what another is looking at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.approvals.model import ApprovalRequest, Grounds
from accredit.approvals.requests import exact_json, plain, view_digest
from accredit.approvals.rows import obligation_doc
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import PersonId
from accredit.kernel.legible import visible
from accredit.registry.organisation import Organisation

__all__ = ["request_view"]

MAX_VIEW_BYTES: Final = 2_097_152
"""A view goes into the record of each vote on it, where it must fit whole."""


def request_view(
    request: ApprovalRequest,
    grounds: Grounds,
    organisation: Organisation,
    *,
    content: Mapping[str, Any] | None,
    assessment: Mapping[str, Any] | None,
) -> tuple[str, Digest]:
    """The text and its digest; the request as it counts now.

    Raises:
        InvalidInputError: a value has no JSON form, or there is more than anybody could judge.
    """

    def who(person: PersonId | None) -> dict[str, Any] | None:
        known = None if person is None else organisation.people.get(person)
        return None if person is None else {"email": known.email if known else None, "id": person}

    parties = request.parties
    view: dict[str, Any] = {
        "about": request.about,
        "agent": request.agent,
        "assessment": plain(assessment),
        "blocks": list(grounds.blocks),
        "excess": list(grounds.excess),
        "facets": plain(grounds.facets),
        "grounds": plain(grounds.view),
        "needs": [
            {
                "assessment": need.assessment,
                "comment": need.comment,
                "count": need.count,
                "facets": list(need.facets),
                "role": need.role.value,
                "template": need.template,
                "validation": need.validation,
            }
            for need in request.needs
        ],
        "nonce": request.nonce,
        "obligations": [obligation_doc(one) for one in request.obligations],
        "parties": {
            "authors": [who(person) for person in sorted(parties.authors)],
            "beneficiaries": [who(person) for person in sorted(parties.beneficiaries)],
            "owners": [who(person) for person in sorted(parties.owners)],
            "requester": who(parties.requester),
        },
        "proposal": plain(content),
        "request": request.id,
        "subject": {"digest": request.subject.digest, "kind": request.subject.kind},
        "team": request.team,
        "tier": request.tier.value if request.tier else None,
        "validation": grounds.validation,
    }
    text = visible(exact_json(view, indent=True).decode())
    if len(text.encode()) > MAX_VIEW_BYTES:
        raise InvalidInputError(
            Code.BODY_OVERSIZED, f"what would be shown to voters is longer than {MAX_VIEW_BYTES} bytes",
            hint="ask for less at a time",
        )  # fmt: skip
    return text, view_digest(text)
