"""Promises about stores of memory and knowledge: what is registered, purged, reviewed and proven to be gone."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("stores:registered", "issue 6 §9", "a store in production takes two persons; agents name it"),
    Requirement("stores:opened:where", "DESIGN §11", "only what lies below directories set aside for stores is opened"),
    Requirement("stores:cannot-certify", "issue 6 §9", "what nobody can certify is said from registration to receipt"),
    Requirement(
        "stores:adapters:conformance", "research §6.4", "every adapter gives each item once; deleting is final"
    ),
    Requirement("stores:adapters:residual-bytes", "research §6.3", "deleted bytes are on disk nowhere once finished"),
    Requirement("stores:purge:private", "issue 6 §9", "retirement purges private memory and shows that it is gone"),
    Requirement("stores:purge:shared", "issue 6 §9", "of a shared namespace only what is the agent's own goes"),
    Requirement("stores:purge:two-persons", "DESIGN §1", "a purge above a bound or of a high tier takes a sign-off"),
    Requirement("stores:purge:who-may", "DESIGN §4", "who may not purges nothing and reads nothing"),
    Requirement("stores:purge:legal-hold", "issue 6, faults", "what is under legal hold stays and is listed"),
    Requirement("stores:purge:killed", "issue 6, numbers", "killed anywhere, a purge is completed and proven"),
    Requirement("stores:purge:bounded", "issue 6, numbers", "any number of items takes bounded memory"),
    Requirement("stores:purge:keys", "research §6.2", "a key goes only if nothing is left that it opens"),
    Requirement(
        "stores:keys:destroyed", "research §6.2", "a key in a file or in AWS KMS is destroyed, or that is said"
    ),
    Requirement("stores:hostile", "issue 6, faults", "a store that lies about deletion is not believed"),
    Requirement("stores:down", "issue 6, faults", "a store that is down for a day is purged once it is back"),
    Requirement("stores:review", "issue 6 §9", "shared knowledge goes only as far as people decided on it"),
    Requirement("stores:scan", "issue 6 §9", "a scan tells kinds and counts, never values, and can be resumed"),
    Requirement("stores:scan:presidio", "research §6.5", "Presidio is asked offline and apart, and may fail"),
    Requirement("stores:api", "issue 6 §9", "API and command line do what the room can, and no more"),
    Requirement("stores:console", "issue 6 §9", "items are reviewed on a page, one by one or, if clean, together"),
)
