"""Promises of applying folders of manifests."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 6 §3"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("registry:managers:fields", _SOURCE, "Each field has at most one manager: whoever wrote it first."),
    Requirement("registry:managers:refused", _SOURCE, "A change of what another manages names both and does nothing."),
    Requirement("registry:managers:merged", _SOURCE, "What a manifest leaves out stays as its manager said."),
    Requirement("registry:managers:forced", _SOURCE, "Taking a field over is recorded with whom it was taken from."),
    Requirement("registry:apply:partial", _SOURCE, "If applying stops half-way, each object says what became of it."),
    Requirement("api:gitops:idempotent", _SOURCE, "What is exported is applied without a change."),
    Requirement(
        "api:gitops:diff", _SOURCE, "A difference says what changes, whose approval that takes, votes and tiers."
    ),
    Requirement("api:gitops:drift", _SOURCE, "What is live and not in the folder is listed."),
    Requirement("api:gitops:simulated", _SOURCE, "A changed manifest is judged on the calls that were recorded."),
    Requirement("api:gitops:managers", _SOURCE, "Managers and what force would take are told over the API."),
    Requirement("api:gitops:prune", _SOURCE, "Pruning is explicit, lists first, and never ends an agent."),
    Requirement("api:gitops:policies", _SOURCE, "Policies of a folder are published last, and a failure is said."),
    Requirement("cli:gitops:folder", _SOURCE, "A folder that was exported changes nothing."),
    Requirement("cli:gitops:diff", _SOURCE, "Differences are told field by field, with exit 3."),
    Requirement("cli:gitops:policies", _SOURCE, "A PolicySet names a directory below it."),
    Requirement("cli:gitops:action", _SOURCE, "The action for pull requests shows what applying would do."),
)
