"""The demo holds; with any one control replaced by one that never says no it fails at exactly that control's step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from accredit.approvals.duties import Barred, BarredReason, Eligible, duty
from accredit.audit.model import Entry, Receipt
from accredit.audit.ports import Row
from accredit.audit.state import Proof
from accredit.demo.life import LIFE
from accredit.demo.story import STEPS, StepFailedError, live
from accredit.enforcement.ports import Controls
from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError
from accredit.kernel.ids import CredentialId
from accredit.lifecycle.ports import Cleared
from accredit.lifecycle.steps import StepEffect
from accredit.limits.model import Spend
from accredit.policy.model import Decision, Outcome
from accredit.registry.authority import Permitted
from accredit.registry.model import Tier
from accredit.registry.tiering import Tiering, tiering
from tests.families import family

pytestmark = pytest.mark.timeout(300)


_FOUNDED = ("sign_in", "register")
_CALLS = STEPS[: STEPS.index(LIFE[0])]
_ALWAYS = frozenset({"credentials end at retirement", "policy", "revocation", "separation of duties"})


@dataclass
class _Wrapped:
    """Everything as the real control does it, but for what a subclass says."""

    real: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _OnceVerifiedAlwaysVerified(_Wrapped):
    def verify(self, token: str, *, path: str) -> Principal:
        seen: dict[str, Principal] = self.__dict__.setdefault("seen", {})
        try:
            seen[token] = self.real.verify(token, path=path)
        except UnauthenticatedError:
            if token not in seen:
                raise
        return seen[token]

    def still_valid(self, principal: Principal) -> Code | None:
        return None


class _NoCredential(_Wrapped):
    async def headers(self, server: object, principal: object) -> Mapping[str, str]:
        return {}


class _NothingChanges(_Wrapped):
    async def refusal(self, server: object, tool: object) -> Code | None:
        return None


class _NoPrice(_Wrapped):
    def reserve(self, spend: Spend, **more: Any) -> Any:
        return self.real.reserve(replace(spend, cost_nanos=0), **more)


class _NoRate(_Wrapped):
    def reserve(self, spend: Spend, **more: Any) -> Any:
        limits = replace(spend.limits, calls_per_minute=100_000)
        return self.real.reserve(replace(spend, limits=limits), **more)


class _Every(frozenset[str]):
    def __contains__(self, item: object) -> bool:
        return True


class _EverythingGranted(_Wrapped):
    def any_granted(self, agent: object) -> bool:
        return True

    def grants_for(self, request: object) -> frozenset[str]:
        return _Every()

    async def consume(self, *_: object, **__: object) -> tuple[str, ...]:
        return ()


class _GrantsLast(_Wrapped):
    async def consume(self, request: Digest, policies: Collection[str], *, credential: CredentialId) -> tuple[str, ...]:
        return tuple(policies)


class _ForgetsRefusals(_Wrapped):
    def append(self, entry: Entry) -> Awaitable[Receipt]:
        if entry.facts.kind == "decision" and entry.facts.decision != "allow":
            done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            done.set_result(Receipt("", 0, b""))
            return done
        found: Awaitable[Receipt] = self.real.append(entry)
        return found


def _allowing(real: Callable[..., Decision]) -> Callable[..., Decision]:
    def decide(request: Any, snapshot: Any) -> Decision:
        return replace(real(request, snapshot), outcome=Outcome.ALLOW, code=Code.ALLOWED, lifted=())

    return decide


def _believing(real: Callable[..., Decision]) -> Callable[..., Decision]:
    """Takes what the agent claims for what was verified."""

    def decide(request: Any, snapshot: Any) -> Decision:
        claimed = request.context.get("declared", {})
        context = request.context
        if claimed:
            context = {**context, "user": {"id": "?", **claimed}, "task": {"id": "?", **claimed}}
        return real(replace(request, context=context), snapshot)

    return decide


def _at_noon(real: Callable[..., Decision]) -> Callable[..., Decision]:
    def decide(request: Any, snapshot: Any) -> Decision:
        noon = {"minute": 720, "day": "wed", "date": "2026-11-25"}
        return real(replace(request, context={**request.context, "now": noon}), snapshot)

    return decide


_REPLACED: dict[str, tuple[str, Callable[[Controls], Controls]]] = {
    "credentials of tool servers": ("allowed_stateless", lambda c: replace(c, broker=_NoCredential(c.broker))),
    "listing": ("listed", lambda c: replace(c, listed=lambda *_: True)),
    "policy": ("not_granted", lambda c: replace(c, decide=_allowing(c.decide))),
    "provenance of facts": ("declared", lambda c: replace(c, decide=_believing(c.decide))),
    "argument schemas": ("undeclared", lambda c: replace(c, validate=lambda *_: None)),
    "holds": ("held", lambda c: replace(c, holds=_EverythingGranted(c.holds))),
    "single use of grants": ("held", lambda c: replace(c, holds=_GrantsLast(c.holds))),
    "pinned definitions": ("changed_definition", lambda c: replace(c, definitions=_NothingChanges(c.definitions))),
    "budget": ("budget", lambda c: replace(c, spend=_NoPrice(c.spend))),
    "rate": ("rate", lambda c: replace(c, spend=_NoRate(c.spend))),
    "hours": ("outside_hours", lambda c: replace(c, decide=_at_noon(c.decide))),
    "revocation": ("revoked", lambda c: replace(c, verifier=_OnceVerifiedAlwaysVerified(c.verifier))),
    "record of refusals": ("recorded", lambda c: replace(c, audit=_ForgetsRefusals(c.audit))),
}


@pytest.mark.requirement("demo:story:holds")
def test_the_sample_fleet_meets_every_refusal_and_the_log_proves_it() -> None:
    assert asyncio.run(live()) == len(STEPS)


@pytest.mark.requirement("demo:controls:needed")
@pytest.mark.parametrize("control", family(_REPLACED, _ALWAYS.__contains__))
def test_without_one_control_the_demo_fails_at_exactly_its_step(control: str) -> None:
    step, replaced = _REPLACED[control]
    steps = [*_CALLS, "recorded"] if step == "recorded" else _CALLS
    with pytest.raises(StepFailedError) as failed:
        asyncio.run(live(steps, replaced=replaced))
    assert failed.value.step == step, failed.value.why


# -- the second chapter's controls: each is one function that says no


def _anybody(*_: Any, **__: Any) -> Eligible:
    return Eligible()


def _new_roles_too(*args: Any, **more: Any) -> Eligible | Barred:
    found = duty(*args, **more)
    late = isinstance(found, Barred) and found.reason is BarredReason.ROLE_TOO_NEW
    return Eligible() if late else found


def _unblocked(facts: Any) -> Tiering:
    found = tiering(facts)
    return found if found.tier else replace(found, blocks=(), tier=Tier.HIGH)


def _always_cleared(_: Any, agent: Any, version: Any, operator: Any) -> Cleared:
    subject = Subject("agent-version", version.digest)
    return Cleared("apr_none", Clearance(subject, Basis.APPROVALS, (), operator.credential), Tier.HIGH)


def _every_row(rows: Iterable[Any], heads: Any) -> Proof:
    return Proof(tuple(Row(row.kind, row.key, orjson.loads(row.doc), row.digest) for row in rows), frozenset())


async def _nothing(*_: Any, **__: Any) -> None:
    return None


_TAKEN_AWAY: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = {
    "separation of duties": ("roles", (("approvals.signoff.duty", _anybody),)),
    "two persons for tools": (
        "production_tools",
        (("registry.declarations._takes_two", lambda *_: False),),
    ),
    "who may": ("suspended", (("lifecycle.permission.authority", lambda *_, **__: Permitted("any")),)),
    "blocks": ("no_tier", (("lifecycle.judging.tiering", _unblocked),)),
    "clearance": ("own_vote", (("lifecycle.joining.VersionSignOff.cleared", _always_cleared),)),
    "votes judged again": ("outlived", (("approvals.counting.duty", _anybody),)),
    "age of roles": ("outlived", (("approvals.signoff.duty", _new_roles_too),)),
    "access validation": (
        "excess",
        (("approvals.signoff.Approvals._require_approvable", lambda *_: None),),
    ),
    "facet digests": (
        "superseded",
        (
            ("approvals.signoff.judged", lambda *_: Digest("sha256:same")),
            ("approvals.counting.judged", lambda *_: Digest("sha256:same")),
        ),
    ),
    "risk assessment": (
        "assessed_high",
        (("approvals.signoff.Approvals._assessment_faults", lambda *_: ""),),
    ),
    "novelty": ("never_seen", (("monitoring.service.novelties", lambda *_: ()),)),
    "remedies": ("drifted", (("lifecycle.remedies.Remedies.carry_out", _nothing),)),
    "credentials end at retirement": (
        "retired",
        (("lifecycle.steps._CredentialStep.take", lambda *_: StepEffect()),),
    ),
    "ghosts": ("ghost", (("monitoring.service.ghost", lambda *_: None),)),
    "proven state": ("unproven", (("audit.control.prove", _every_row),)),
}


@pytest.mark.requirement("demo:controls:needed")
@pytest.mark.parametrize("control", family(_TAKEN_AWAY, _ALWAYS.__contains__))
def test_without_one_control_of_an_agents_life_the_demo_fails_at_exactly_its_step(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, parts = _TAKEN_AWAY[control]
    for where, instead in parts:
        monkeypatch.setattr(f"accredit.{where}", instead)
    with pytest.raises(StepFailedError) as failed:
        asyncio.run(live([*_FOUNDED, *LIFE, "unproven"]))
    assert failed.value.step == step, failed.value.why
