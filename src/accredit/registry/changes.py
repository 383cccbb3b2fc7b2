"""What a newer version of an agent changes, facet by facet, and which of it somebody must look at again. Pure.

Each difference between two canonical forms is one change, with its reason. It is material unless a rule here says
that it only narrows: a tool, model, store, delegate or data class that goes, a condition or mask that is added, hours,
inputs and audiences that become fewer, autonomy that goes down, a last day that comes sooner, a limit that falls or
rises by no more than a quarter. INVARIANT: what no rule recognises is material, and every facet whose digest differs
has a change.

What may change at all without another look is one table, by facet (`CHANGE_RULES`). An envelope (`spec.envelope`) was
judged and approved as a part of the version that is compared with; a change within it is no news to whoever voted. It
has parts for the facets of which the table says so, and none for any other. The envelope itself is always looked at.

Follows research/compliance-lifecycle.md §4.2, "Material change", and is stricter where a digest says that something
changed and nobody can say how: another prompt, purpose, owner or definition is always looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from accredit.kernel.canonical import Digest, canonical
from accredit.registry.tiering import AUDIENCES, AUTONOMY, REACH
from accredit.registry.versions import ENVELOPE_OF, FACETS, envelope_of, facets

__all__ = ["CHANGE_RULES", "RAISE_PERCENT", "ChangeRule", "FacetChange", "changes_between", "material"]

RAISE_PERCENT: Final = 25
"""By how much a limit may rise against what was judged."""

_DAY_MINUTES: Final = 24 * 60
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ChangeRule(StrEnum):
    """What a change takes until it is in force."""

    APPROVE = "approve-anew"
    """Whoever judges the facet looks again."""
    ENVELOPE = "envelope"
    """It was approved beforehand; what is not within the envelope takes another look."""
    LOG = "log-only"
    """It is on record, and another hand puts it in force."""


@dataclass(frozen=True, slots=True)
class _FacetRule:
    narrows: ChangeRule
    """Of what takes something away, or puts something to it that holds more."""
    otherwise: ChangeRule


_LOOKED_AT: Final = _FacetRule(ChangeRule.APPROVE, ChangeRule.APPROVE)
_NARROWS: Final = _FacetRule(ChangeRule.LOG, ChangeRule.APPROVE)
_BEFOREHAND: Final = _FacetRule(ChangeRule.LOG, ChangeRule.ENVELOPE)
CHANGE_RULES: Final[Mapping[str, _FacetRule]] = {
    "audience": _NARROWS,
    "autonomy": _NARROWS,
    "data": _NARROWS,
    "delegates": _NARROWS,
    "limits": _BEFOREHAND,
    "models": _BEFOREHAND,
    "owner": _LOOKED_AT,
    "prompt": _FacetRule(ChangeRule.APPROVE, ChangeRule.ENVELOPE),
    "purpose": _LOOKED_AT,
    "stores": _NARROWS,
    "tools": _BEFOREHAND,
}
"""By facet. INVARIANT: no envelope reaches a facet of which this does not say so."""


@dataclass(frozen=True, slots=True)
class FacetChange:
    """One difference."""

    facet: str
    what: str
    """The key, tool, model, store or agent it is about."""
    why: str
    """What happened to it, in plain words without its values."""
    material: bool
    """Whether whoever judges the facet must look again."""
    within: bool = False
    """Whether it would be material, but for the envelope that was approved with the version compared with."""

    @property
    def rule(self) -> ChangeRule:
        """What it takes."""
        if self.material:
            return ChangeRule.APPROVE
        return ChangeRule.ENVELOPE if self.within else ChangeRule.LOG

    def __str__(self) -> str:
        return f"{self.facet}: `{self.what}` {self.why}"

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "facet": self.facet,
            "material": self.material,
            "rule": self.rule,
            "what": self.what,
            "why": self.why,
        }


def material(changes: Iterable[FacetChange]) -> bool:
    """Whether any of them must be looked at."""
    return any(change.material for change in changes)


def _unknown(_: Digest, __: Digest) -> bool:
    return False


def changes_between(
    before: Mapping[str, Any], after: Mapping[str, Any], *, little: Callable[[Digest, Digest], bool] = _unknown
) -> tuple[FacetChange, ...]:
    """Every change from one canonical form to another, by facet; none if they are the same version.

    `little` says of the digests of two definitions whether the second differs from the first in little alone.
    """
    old, new = facets(before), facets(after)
    found: list[FacetChange] = []
    for facet in sorted(FACETS):
        if old[facet] == new[facet]:
            continue
        rule = _RULES.get(facet)
        changes = list(rule(before["spec"], after["spec"])) if rule is not None else _any(facet, before, after)
        if envelope_of(before["spec"], facet) != envelope_of(after["spec"], facet):
            changes.append(FacetChange(facet, _ENVELOPE, "is another", material=True))
        changes = changes or [FacetChange(facet, facet, "changed in a way that no rule knows", material=True)]
        found += [_ruled(change, before["spec"], after["spec"], little) for change in changes]
    if before["spec"].keys() - _KNOWN or after["spec"].keys() - _KNOWN:
        found.append(FacetChange("purpose", "spec", "has a key that no rule knows", material=True))
    return tuple(found)


_ENVELOPE: Final = "envelope"
_KNOWN: Final = frozenset(key for keys in FACETS.values() for key in keys) | {_ENVELOPE}
_Spec = Mapping[str, Any]


def _ruled(change: FacetChange, before: _Spec, after: _Spec, little: Callable[[Digest, Digest], bool]) -> FacetChange:
    """The change as the table has it."""
    rule = CHANGE_RULES[change.facet]
    if not change.material:
        return change if rule.narrows is ChangeRule.LOG else replace(change, material=True)
    if rule.otherwise is not ChangeRule.ENVELOPE or change.what == _ENVELOPE:
        return change
    envelope = envelope_of(before, change.facet)
    if envelope is None or not _WITHIN[change.facet](change, envelope, before, after, little):
        return change
    return replace(change, material=False, within=True)


def _any(facet: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FacetChange]:
    """Of a facet whose every change is looked at."""
    pairs = [(key, before["spec"].get(key), after["spec"].get(key)) for key in FACETS[facet]]
    if facet == "owner":
        pairs += [(key, before.get(key), after.get(key)) for key in sorted({*before, *after} - {"spec"})]
    if facet == "purpose":
        use, now = before["spec"]["use"], after["spec"]["use"]
        pairs = [pair for pair in pairs if pair[0] != "use"]
        pairs += [(f"use.{key}", use.get(key), now.get(key)) for key in sorted(use.keys() | now.keys())]
    return [FacetChange(facet, key, "is another", material=True) for key, old, new in pairs if old != new]


# -- tools


def _tools(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
    old, new = _by(before["tools"], "tool"), _by(after["tools"], "tool")
    for tool in sorted(old.keys() | new.keys()):
        if tool not in new:
            yield FacetChange("tools", tool, "is not granted any more", material=False)
        elif tool not in old:
            yield FacetChange("tools", tool, "is granted now", material=True)
        else:
            then, now = ({**grants[tool], "hours": grants[tool]["hours"] or spec["hours"]}
                         for grants, spec in ((old, before), (new, after)))  # fmt: skip
            yield from _grant(tool, then, now)
    if before["hours"] != after["hours"]:
        fewer = _fewer_hours(before["hours"], after["hours"])
        yield FacetChange("tools", "hours", "are fewer" if fewer else "are others", material=not fewer)


def _grant(tool: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[FacetChange]:
    for key in sorted(old.keys() | new.keys()):
        then, now = old.get(key), new.get(key)
        if then == now:
            continue
        narrower, words = _NARROWER.get(key, (_never, key))
        only = narrower(then, now)
        yield FacetChange("tools", tool, f"has {'narrower' if only else 'another'} {words}", material=not only)


def _never(_: Any, __: Any) -> bool:
    return False


def _fewer_hours(old: Any, new: Any) -> bool:
    """Whether every moment of the new hours is one of the old; of two zones nobody says."""
    if old is None or new is None:
        return old is None
    return bool(old["zone"] == new["zone"]) and _minutes(new) <= _minutes(old)


def _minutes(hours: Mapping[str, Any]) -> frozenset[int]:
    """The minutes of the week it covers, as local clocks show them; windows over midnight go on the next day."""
    length = (hours["end"] - hours["start"]) % _DAY_MINUTES or _DAY_MINUTES
    week = _DAY_MINUTES * len(_DAYS)
    starts = [_DAYS.index(day) * _DAY_MINUTES + hours["start"] for day in hours["days"]]
    return frozenset((start + minute) % week for start in starts for minute in range(length))


def _more_mask(old: Any, new: Any) -> bool:
    return set(old) <= set(new)


def _role_added(old: Any, new: Any) -> bool:
    return old is None and new is not None


def _pairs_added(old: Any, new: Any) -> bool:
    return {tuple(pair) for pair in old} <= {tuple(pair) for pair in new}


_NARROWER: Final[Mapping[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "hours": (_fewer_hours, "hours"),
    "mask": (_more_mask, "results: what is masked changed"),
    "sameAs": (_pairs_added, "conditions"),
    "userRole": (_role_added, "conditions"),
    "definition": (_never, "definition"),
}

# -- what is a set


def _set(facet: str, key: str, gone: str, come: str) -> Callable[[_Spec, _Spec], Iterator[FacetChange]]:
    def rule(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
        old, new = _named(before[key]), _named(after[key])
        for one in sorted(old.keys() - new.keys()):
            yield FacetChange(facet, old[one], gone, material=False)
        for one in sorted(new.keys() - old.keys()):
            yield FacetChange(facet, new[one], come, material=True)

    return rule


def _named(entries: Iterable[Any]) -> dict[bytes, str]:
    """What a reader calls each entry, by all that it is."""
    return {canonical(one): one if isinstance(one, str) else _name(one) for one in entries}


def _name(entry: Mapping[str, Any]) -> str:
    parts = [entry[key] for key in ("provider", "model", "store", "adapter", "namespace") if entry.get(key)]
    return "/".join(map(str, parts))


def _delegates(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
    old, new = (_delegations(spec["delegates"]) for spec in (before, after))
    for agent, tool in sorted(old.keys() | new.keys()):
        then, now = old.get((agent, tool)), new.get((agent, tool))
        what = f"{agent} {tool}".strip()
        if now is None:
            yield FacetChange("delegates", what, "is not delegated any more", material=False)
        elif then is None:
            yield FacetChange("delegates", what, "is delegated now", material=True)
        elif then != now:
            known = then.keys() == now.keys() == {"sameAs", "tool", "userRole"}
            only = known and all(
                then[key] == now[key] or _NARROWER[key][0](then[key], now[key]) for key in ("sameAs", "userRole")
            )
            yield FacetChange("delegates", what, f"has {'narrower' if only else 'other'} conditions", material=not only)


def _delegations(entries: Iterable[Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in entries:
        if isinstance(entry, str):
            found[entry, ""] = {}
            continue
        found[entry["agent"], ""] = {}
        found |= {(entry["agent"], each["tool"]): each for each in entry["tools"]}
    return found


# -- what is a ladder


def _ladder(facet: str, key: str, ranks: Mapping[str, int]) -> Callable[[_Spec, _Spec], Iterator[FacetChange]]:
    def rule(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
        if before[key] == after[key]:
            return
        old, new = ranks.get(before[key]), ranks.get(after[key])
        lower = old is not None and new is not None and new < old
        yield FacetChange(facet, key, "is lower" if lower else "is not lower", material=not lower)

    return rule


def _audience(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
    yield from _ladder("audience", "audience", AUDIENCES)(before, after)
    yield from _ladder("audience", "reach", REACH)(before, after)
    old, new = set(before["inputs"]), set(after["inputs"])
    if old != new:
        fewer = bool(new) and new <= old
        yield FacetChange("audience", "inputs", "are fewer" if fewer else "are others", material=not fewer)


# -- limits


def _limits(before: _Spec, after: _Spec) -> Iterator[FacetChange]:
    old, new = before["limits"], after["limits"]
    for key in sorted(old.keys() | new.keys()):
        then, now = old.get(key), new.get(key)
        if then == now:
            continue
        why, needed = _limit(_amount(then), _amount(now))
        yield FacetChange("limits", key, why, material=needed)
    if before["expires"] != after["expires"]:
        then, now = before["expires"], after["expires"]
        sooner = now is not None and (then is None or now < then)
        yield FacetChange("limits", "expires", "is sooner" if sooner else "is later or gone", material=not sooner)


def _limit(old: tuple[str, int] | None, new: tuple[str, int] | None) -> tuple[str, bool]:
    if old is None or new is None or old[0] != new[0]:
        # without one the installation's default holds, which may be more or less
        return "is not to be compared", True
    if new[1] < old[1]:
        return "is lower", False
    if new[1] * 100 <= old[1] * (100 + RAISE_PERCENT):
        return f"is higher by no more than {RAISE_PERCENT} %", False
    return f"is higher by more than {RAISE_PERCENT} %", True


def _amount(value: Any) -> tuple[str, int] | None:
    if isinstance(value, int):
        return "", value
    return (value["currency"], value["nanos"]) if isinstance(value, Mapping) else None


def _by(entries: Iterable[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
    return {entry[key]: entry for entry in entries}


# -- what is within an envelope


def _limit_within(change: FacetChange, envelope: Any, _: _Spec, after: _Spec, __: object) -> bool:
    if change.what not in envelope:
        return False
    most, now = _amount(envelope[change.what]), _amount(after["limits"].get(change.what))
    return most is not None and now is not None and most[0] == now[0] and now[1] <= most[1]


def _models_within(change: FacetChange, envelope: Any, before: _Spec, after: _Spec, _: object) -> bool:
    """Whether all that is called so and was not there before is in it, agreement included."""
    old, allowed = {canonical(one) for one in before["models"]}, {canonical(one) for one in envelope}
    come = {canonical(one) for one in after["models"] if _name(one) == change.what} - old
    return bool(come) and come <= allowed


def _prompt_within(_: FacetChange, envelope: Any, __: _Spec, after: _Spec, ___: object) -> bool:
    return after["prompt"].keys() == {"digest"} and after["prompt"]["digest"] in envelope


def _definition_within(
    change: FacetChange, envelope: Any, before: _Spec, after: _Spec, little: Callable[[Digest, Digest], bool]
) -> bool:
    if change.why != _ANOTHER_DEFINITION or change.what not in envelope:
        return False
    then, now = (_by(spec["tools"], "tool")[change.what]["definition"] for spec in (before, after))
    return little(then, now)


_ANOTHER_DEFINITION: Final = "has another definition"
_WITHIN: Final[Mapping[str, Callable[[FacetChange, Any, _Spec, _Spec, Callable[[Digest, Digest], bool]], bool]]] = {
    "limits": _limit_within,
    "models": _models_within,
    "prompt": _prompt_within,
    "tools": _definition_within,
}
"""Of the facets that an envelope has a part for."""
assert _WITHIN.keys() == ENVELOPE_OF.keys()  # noqa: S101 - a slip in this file
assert {facet for facet, rule in CHANGE_RULES.items() if rule.otherwise is ChangeRule.ENVELOPE} == _WITHIN.keys()  # noqa: S101


_RULES: Final[Mapping[str, Callable[[_Spec, _Spec], Iterator[FacetChange]]]] = {
    "audience": _audience,
    "autonomy": _ladder("autonomy", "autonomy", AUTONOMY),
    "data": _set("data", "data", "is not declared any more", "is declared now"),
    "delegates": _delegates,
    "limits": _limits,
    "models": _set("models", "models", "is not used any more, or not so", "is used now, or under another agreement"),
    "stores": _set("stores", "stores", "is not kept in any more, or not so", "is kept in now, or otherwise"),
    "tools": _tools,
}
"""Facets without a rule are looked at whatever changes in them: owner, prompt, purpose."""
