"""Whether what runs is what was approved: digest against digest, so the first difference is certain. Pure.

Four things can differ from the baseline: what is enforced (the version in force), what the agent's tools are pinned
to, where its tools and models are, and what an instance says of itself, signed with its own key. A fifth is not the
agent's: how much can go wrong
with it by everything registered and enforced now, against what it was approved under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, CredentialId, ToolId
from accredit.monitoring.model import AlertKind, Baseline, Deviation, Posture, PresentTier, Replaced
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentVersion, Environment
from accredit.registry.tiering import tier_rank

__all__ = [
    "NO_BASELINE",
    "approved_behaviour",
    "drift_in_force",
    "drift_of_tier",
    "drift_reported",
    "posture_from",
    "without_baseline",
]

NO_BASELINE: Final = "no-baseline"
"""The matter of an alert on an agent that runs in production and has nothing it could be compared with."""

_CHANGING_OVER_US: Final = 900_000_000
_MAX_MODELS: Final = 50
_MAX_NAME: Final = 128
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def approved_behaviour(
    agent: Agent,
    version: AgentVersion,
    destinations: Mapping[ToolId, str],
    *,
    clearance: Digest | None,
    made_us: int,
    before: Baseline | None = None,
) -> Baseline:
    """The baseline of a version; `destinations` are the origins of its tools' servers and its models' providers.

    The definitions are those the manifest was approved with, whatever the tools are pinned to by now.
    """
    spec = version.manifest["spec"]
    replaced = None
    if before is not None and before.open and before.version != version.digest:
        replaced = Replaced(before.version, before.prompt, before.models, made_us + _CHANGING_OVER_US)
    return Baseline(
        agent=agent.id,
        version=version.digest,
        definitions={ToolId(entry["tool"]): Digest(entry["definition"]) for entry in spec["tools"]},
        models=frozenset((form["provider"], form["model"]) for form in spec["models"]),
        prompt=spec["prompt"]["digest"],
        destinations=frozenset(destinations.values()),
        data=version.data,
        tools=frozenset(grant.tool for grant in version.grants),
        hours=spec["hours"],
        limits=spec["limits"],
        clearance=clearance,
        made_us=made_us,
        replaced=replaced,
        places=destinations,
    )


def without_baseline(agent: Agent, at_us: int) -> Deviation:
    """It runs, and what it was approved to do is not there or not proven."""
    evidence = {"expected": None, "seen": agent.version.digest}
    return Deviation(agent.id, AlertKind.POSTURE_VERSION, NO_BASELINE, evidence, at_us)


def drift_in_force(
    baseline: Baseline, agent: Agent, pinned: Mapping[ToolId, Digest], placed: Mapping[ToolId, str], at_us: int
) -> tuple[Deviation, ...]:
    """What of the version in force, of its tools' pins and of where they are is not as approved.

    A tool that is gone is no drift. A server that moved is one deviation, however many tools it offers.
    """
    found = []
    if agent.version.digest != baseline.version:
        evidence = {"expected": baseline.version, "seen": agent.version.digest}
        found.append(Deviation(agent.id, AlertKind.POSTURE_VERSION, baseline.version, evidence, at_us))
    for tool, approved in sorted(baseline.definitions.items()):
        now = pinned.get(tool, approved)
        if now != approved:
            evidence = {"expected": approved, "seen": now}
            found.append(Deviation(agent.id, AlertKind.POSTURE_DEFINITION, tool, evidence, at_us, tool=tool))
    moved: dict[str, str] = {}
    for tool, approved_place in sorted(baseline.places.items()):
        present = placed.get(tool, approved_place)
        if present != approved_place:
            moved.setdefault(approved_place, present)
    for approved_place, present in moved.items():
        places = {"expected": approved_place, "seen": present}
        found.append(Deviation(agent.id, AlertKind.POSTURE_ENDPOINT, approved_place, places, at_us))
    return tuple(found)


def drift_of_tier(agent: Agent, now: PresentTier, at_us: int) -> Deviation | None:
    """Whether more can go wrong with an agent that runs in production than it was approved under.

    The matter is the approved tier: one alert, however far and how often it rises. No tier now is above every other;
    an agent that was approved under none is let nothing through, and has none to rise from.
    """
    approved = agent.tier
    if approved is None or agent.environment is not Environment.PRODUCTION or not runs(agent.environment, agent.state):
        return None
    if now.tier is not None and tier_rank(now.tier) <= tier_rank(approved):
        return None
    evidence = {
        "expected": approved.value,
        "faults": list(now.faults),
        "floors": list(now.floors),
        "seen": now.tier.value if now.tier else None,
        "version": agent.version.digest,
        **({"observed": list(now.observed)} if now.observed else {}),
    }
    return Deviation(agent.id, AlertKind.POSTURE_TIER, approved.value, evidence, at_us)


def drift_reported(baseline: Baseline, posture: Posture) -> tuple[Deviation, ...]:
    """What an instance says of itself that is not as approved; of what it does not say nothing is found.

    The matter is the approved value: one alert, however many different things an instance says. For a while after an
    approved change the version before is no drift, if the instance is all of that version.
    """
    before = baseline.replaced
    if before is not None and posture.at_us < before.until_us and _is(posture, before):
        return ()
    found: list[tuple[AlertKind, str, Any, Any]] = []
    if posture.version not in {None, baseline.version}:
        found.append((AlertKind.POSTURE_VERSION, baseline.version, baseline.version, posture.version))
    if posture.prompt not in {None, baseline.prompt}:
        found.append((AlertKind.POSTURE_PROMPT, baseline.prompt, baseline.prompt, posture.prompt))
    if posture.models is not None and not posture.models <= baseline.models:
        expected = [list(model) for model in sorted(baseline.models)]
        seen = [list(model) for model in sorted(posture.models)]
        found.append((AlertKind.POSTURE_MODEL, digest_value("models", expected), expected, seen))
    return tuple(
        Deviation(
            posture.agent,
            kind,
            matter,
            {"credential": posture.credential, "expected": expected, "seen": seen},
            posture.at_us,
        )
        for kind, matter, expected, seen in found
    )


def _is(posture: Posture, before: Replaced) -> bool:
    return (
        posture.version in {None, before.version}
        and posture.prompt in {None, before.prompt}
        and (posture.models is None or posture.models <= before.models)
    )


def posture_from(agent: AgentId, credential: CredentialId, said: Mapping[str, Any], at_us: int) -> Posture:
    """The posture in an instance's claim `{version?, prompt?, models?: [[provider, model], …]}`.

    Raises:
        InvalidInputError: it has another form, or is longer than a manifest could be.
    """
    models = said.get("models")
    if said.keys() - {"version", "prompt", "models"}:
        raise _malformed()
    if models is not None:
        if not isinstance(models, list | tuple) or len(models) > _MAX_MODELS:
            raise _malformed()
        models = frozenset(_model(model) for model in models)
    return Posture(agent, credential, _digest(said.get("version")), _digest(said.get("prompt")), models, at_us)


def _digest(value: Any) -> Digest | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _malformed()
    return Digest(value)


def _model(value: Any) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _malformed()
    provider, model = value
    # what is not printable could deceive whoever reads the alert, or have no form in which to record it
    if not all(isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable() for name in value):
        raise _malformed()
    return provider, model


def _malformed() -> InvalidInputError:
    return InvalidInputError(Code.TOKEN_CLAIMS, "the posture is not of the form asked for")
