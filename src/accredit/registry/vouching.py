"""Issuers and context providers: whoever vouches for users and tasks, as stored and as they must fit together. Pure.

A policy believes them, so what one person registers counts in development alone; beyond it takes two (docs/adr/0006).
A row that two persons signed off says so (`enacted`). What only takes away is one person's: a key, a provider's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from accredit.audit.ports import Row, StateView
from accredit.kernel.codes import Code
from accredit.registry import rows
from accredit.registry.manifest import ContextProviderManifest, IssuerManifest, duration_ms

__all__ = [
    "VouchingFault",
    "issuer_doc",
    "issuer_faults",
    "only_takes_away",
    "provider_doc",
    "provider_faults",
    "same_word",
]

_NOT_DECLARED: Final = frozenset({"enacted", "revoked"})


class VouchingFault(NamedTuple):
    """What keeps it from being registered."""

    path: str
    """In its manifest."""
    code: Code
    message: str
    hint: str = ""


def issuer_doc(manifest: IssuerManifest) -> dict[str, Any]:
    """An issuer as it is stored."""
    spec = manifest.spec
    return {
        "audience": spec.audience,
        "claims": dict(sorted(spec.claims.items())),
        "issuer": spec.issuer,
        "jwks": spec.jwks.model_dump(exclude_none=True, by_alias=True),
        "name": manifest.metadata.name,
        # pairs, not an object: names of roles need not be ASCII, keys must
        "role_names": [list(pair) for pair in sorted(spec.role_names.items())] if spec.use == "user" else [],
        "roles_claim": spec.roles_claim if spec.use == "user" else None,
        "status_url": spec.status_url if spec.use == "task" else None,
        "token_type": spec.token_type if spec.use == "user" else None,
        "use": spec.use,
    }


def issuer_faults(name: str, doc: Mapping[str, Any], view: StateView) -> Iterator[VouchingFault]:
    """What keeps an issuer from being registered like that, as things stand."""
    row = view.get(rows.ISSUER, name)
    if row is not None and row.doc.get("revoked"):
        # registering it again would revive what was revoked
        yield VouchingFault(
            "metadata.name", Code.CREDENTIAL_REVOKED, f"the issuer `{name}` was revoked",
            "register it under another name, with new keys",
        )  # fmt: skip
        return
    for path in ("issuer", "use"):
        # tokens rest on the name: one that came to mean another issuer would vouch for what it never said
        if row is not None and row.doc[path] != doc[path]:
            yield VouchingFault(
                f"spec.{path}", Code.CONFLICT, f"the issuer `{name}` is registered with another",
                "register it under another name",
            )  # fmt: skip
    taken = {other.key for other in view.scan(rows.CONTEXT_PROVIDER) if other.doc["for"] == doc["use"]}
    for claim in doc["claims"]:
        if claim in taken:
            yield VouchingFault(
                f"spec.claims.{claim}", Code.CONFLICT, "a context provider has this name", "rename it"
            )  # fmt: skip
    for other in view.scan(rows.ISSUER):
        if other.key == name or other.doc.get("revoked") or other.doc.get("use") != doc["use"]:
            continue
        if other.doc["issuer"] == doc["issuer"]:
            yield VouchingFault("spec.issuer", Code.CONFLICT, "another issuer of this use has this address")
        for claim, kind in doc["claims"].items():
            # a policy reads `context.task.customer_id` whoever vouched for it, so it has one type
            if other.doc["claims"].get(claim, kind) != kind:
                yield VouchingFault(
                    f"spec.claims.{claim}", Code.CONDITION_UNTYPED, "another issuer gives it another type"
                )


def provider_doc(manifest: ContextProviderManifest) -> dict[str, Any]:
    """A context provider as it is stored."""
    spec = manifest.spec
    return {
        "credential": spec.credential,
        "facts": dict(sorted(spec.facts.items())),
        "for": spec.of,
        "issuer": spec.issuer,
        "max_bytes": spec.max_bytes,
        "off": spec.off,
        "timeout_ms": duration_ms(spec.timeout),
        "ttl_ms": duration_ms(spec.ttl),
        "url": spec.url,
    }


def provider_faults(name: str, doc: Mapping[str, Any], view: StateView) -> Iterator[VouchingFault]:
    """What keeps a context provider from being registered like that, as things stand."""
    row, issuer, kind = view.get(rows.CONTEXT_PROVIDER, name), view.get(rows.ISSUER, doc["issuer"]), doc["for"]
    if issuer is None or issuer.doc.get("revoked") or issuer.doc["use"] != kind:
        message = f"no issuer of {kind}s is called `{doc['issuer']}`"
        yield VouchingFault(
            "spec.issuer", Code.ISSUER_UNKNOWN, message, "register it first, signed off if it has to be"
        )
    # a policy that reads a claim must not come to read what a provider says, nor the other way round
    if name in {"id", "roles"} or name in _claim_names(view, kind):
        yield VouchingFault("metadata.name", Code.CONFLICT, f"`{name}` is a claim of {kind}s", "choose another name")
    if row is not None and row.doc["for"] != kind:
        message = f"`{name}` is registered for {row.doc['for']}s"
        yield VouchingFault("spec.of", Code.CONFLICT, message, "register it under another name")


def same_word(row: Row | None, doc: Mapping[str, Any]) -> bool:
    """Whether what is registered says the same, whoever signed it off."""
    return row is not None and _declared(row.doc) == doc


def only_takes_away(row: Row | None, doc: Mapping[str, Any]) -> bool:
    """Whether all that changes is that an issuer has fewer keys, or that a provider is off."""
    if row is None or same_word(row, doc):
        return False
    before = _declared(row.doc)
    if "off" in doc:
        return bool(doc["off"]) and {**before, "off": True} == doc
    kept = [key for key in before["jwks"]["keys"] if key in doc["jwks"]["keys"]]
    return {**before, "jwks": {**before["jwks"], "keys": kept}} == doc


def _declared(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in doc.items() if key not in _NOT_DECLARED}


def _claim_names(view: StateView, use: str) -> frozenset[str]:
    """The claims of every issuer of that use."""
    return frozenset(claim for row in view.scan(rows.ISSUER) if row.doc["use"] == use for claim in row.doc["claims"])
