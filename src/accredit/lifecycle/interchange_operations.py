"""Agents in the forms of others, and documents of others as drafts of manifests.

What may be read of an agent may be had in any form. A card that this installation signs is its word to strangers: who
answers for the agent asks for it, and the log says so. A draft is a text and nothing else; no state changes by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.approvals.model import VoteVerdict
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog
from accredit.identity.cards import CARD_KEYS_PATH, CardSignature, signed_card, verified_card
from accredit.identity.keys import issuer_keys
from accredit.identity.model import Operator
from accredit.identity.signing import SigningKeys
from accredit.kernel.canonical import canonical, digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, tool_name
from accredit.kernel.strictjson import parse_strict
from accredit.lifecycle.dossier import Dossier, Dossiers
from accredit.lifecycle.permission import Permission
from accredit.registry.authority import Act
from accredit.registry.interchange.a2a import agent_card, draft_of_card
from accredit.registry.interchange.annex import RecordedFact, annex_iv
from accredit.registry.interchange.cyclonedx import agent_bom, draft_of_bom
from accredit.registry.interchange.drafting import Draft
from accredit.registry.interchange.facts import AgentDocument, AgentFacts, ExchangeForm, SignedOff, ToolFacts
from accredit.registry.interchange.oasf import draft_of_record, oasf_record
from accredit.registry.items import item_name
from accredit.registry.service import Registry
from accredit.registry.versions import money_from

__all__ = ["Imported", "InterchangeOperations", "form_of"]

_MOST_BYTES: Final = 2**20
_MOST_DEPTH: Final = 32
_SHOWN: Final = 50
_MOST_TEXT: Final = 2_000
"""Of what can be many: facts of one kind in a document for people."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A draft, and what is known of who wrote the document it was made of."""

    draft: Draft
    signature: CardSignature

    @property
    def text(self) -> str:
        """The file for the owner."""
        return self.draft.text(self.signature.why)


class InterchangeOperations:
    """Exports and imports of agents."""

    def __init__(
        self,
        *,
        registry: Registry,
        dossiers: Dossiers,
        control: ControlLog,
        card_keys: SigningKeys,
        clock: Clock,
        public_url: str,
        program: str,
    ) -> None:
        self._registry = registry
        self._permission = Permission(registry)
        self._dossiers = dossiers
        self._control = control
        self._card_keys = card_keys
        self._clock = clock
        self._public_url = public_url
        self._program = program

    def document(self, agent: AgentId, form: ExchangeForm, *, spec_version: str = "1.6") -> AgentDocument:
        """An agent's version in force, in one of the forms; a card is not signed. May be called from a thread.

        Raises:
            NotFoundError: no such agent.
            UnavailableError: the log cannot be read, or contradicts a row this rests on.
        """
        found = self._dossiers.of(agent)
        facts = self._facts(found)
        match form:
            case ExchangeForm.A2A:
                return agent_card(facts)
            case ExchangeForm.OASF:
                return oasf_record(facts)
            case ExchangeForm.CYCLONEDX:
                return agent_bom(facts, spec_version=spec_version)
            case ExchangeForm.ANNEX_IV:
                return annex_iv(facts, self._annex(found, facts))

    async def sign_card(self, who: Operator, agent: AgentId, interface: str | None) -> AgentDocument:
        """An agent's card with a signature of this installation; `interface` is where the agent answers to A2A.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: they do not answer for it.
            UnavailableError: the log cannot be read or written, or there is no usable key.
        """
        known = self._registry.get(agent)
        if known is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        self._permission.require(Act.REGISTER_AGENT, who, agent=known)
        document = agent_card(self._facts(self._dossiers.of(agent), interface=interface))
        actor = Actor(person=who.person, credential=who.credential, basis=who.basis)
        await self._card_keys.ensure(actor=actor)
        key = self._card_keys.current()
        card = signed_card(document.body, key, keys_url=f"{self._public_url}{CARD_KEYS_PATH}")
        body = {"card": digest("agent-card", canonical(document.body)), "key": key.kid}
        facts = Facts(
            "agent.card_signed",
            agent=agent,
            version=known.version.digest,
            environment=known.environment.value,
        )
        await self._control.transact(lambda _: Change(facts, (), actor, body))
        return AgentDocument(document.form, document.media_type, card, document.unsaid)

    def draft(self, data: bytes, form: ExchangeForm | None, keys: Mapping[str, Any] | None) -> Imported:
        """A draft from a document; `keys` is a JWKS whose signatures on cards count, beside ours.

        Raises:
            InvalidInputError: it is not a document of a form that is read, or the keys are no such set.
        """
        value = parse_strict(data, max_bytes=_MOST_BYTES, max_depth=_MOST_DEPTH)
        found = form or form_of(value)
        if found is None or not isinstance(value, dict) or found is ExchangeForm.ANNEX_IV:
            raise InvalidInputError(
                Code.BODY_MALFORMED, "this is no agent card, OASF record or CycloneDX bill of materials",
                hint="name its form, or apply it if it is a manifest",
            )  # fmt: skip
        unsigned = CardSignature(None, "unverified: documents of this form carry none that is checked")
        match found:
            case ExchangeForm.A2A:
                pinned = issuer_keys(dict(keys)) if keys is not None else {}
                return Imported(draft_of_card(value), verified_card(value, {**pinned, **self._card_keys.keys()}))
            case ExchangeForm.OASF:
                return Imported(draft_of_record(value), unsigned)
            case _:
                return Imported(draft_of_bom(value), unsigned)

    def card_keys(self) -> dict[str, Any]:
        """The public keys that cards of this installation verify with (RFC 7517 §5)."""
        return self._card_keys.jwks()

    # -- what the documents are made of

    def _facts(self, found: Dossier, *, interface: str | None = None) -> AgentFacts:
        agent, catalogue = found.agent, self._registry.catalogue
        stated = self._registry.stated(agent.version)
        tools = [tool for grant in agent.version.grants if (tool := catalogue.tool(grant.tool)) is not None]
        gone = [grant.tool for grant in agent.version.grants if catalogue.tool(grant.tool) is None]
        votes = found.approved.votes if found.approved is not None else ()
        declared = [one.at_us for one in found.versions if one.digest == agent.version.digest]
        return AgentFacts(
            id=agent.id,
            version=agent.version.digest,
            state=agent.state.value,
            tier=found.tiering.tier if found.tiering else None,
            manifest=stated.document,
            declared_us=declared[0] if declared else agent.registered_us,
            at_us=self._clock.now().wall_us,
            tools=tuple(
                ToolFacts(
                    id=tool.id,
                    server=tool.server,
                    name=tool.name if tool.item is None else item_name(tool_name(tool.id)),
                    description=str(tool.definition.get("description") or ""),
                    effect=tool.effect.value,
                    data=tuple(sorted(tool.data)),
                    definition=tool.definition_digest,
                )
                for tool in sorted(tools, key=lambda one: one.id)
            ),
            signed_off=tuple(
                SignedOff(one.vote.role.value, one.vote.at_us, one.record)
                for one in votes
                if one.vote.verdict is VoteVerdict.APPROVE
            ),
            interface=interface,
            program=self._program,
            unsaid=(
                *(f"the tool {tool}, which is not registered any more" for tool in gone),
                *(one for one in stated.unsaid if "owner" not in one),
                *found.unanswered,
            ),
        )

    def _annex(self, found: Dossier, facts: AgentFacts) -> dict[str, list[RecordedFact]]:
        """What is on record, by the point of Annex IV it belongs to."""
        points: defaultdict[str, list[RecordedFact]] = defaultdict(list)
        version, tools, records = found.records["version"], _tool_facts(found, facts), found.records
        spec = facts.manifest["spec"]

        def said(point: str, text: str, record: int | None = version) -> None:
            points[point].append(RecordedFact(text, record))

        said("1(a)", f"Intended purpose: {spec['purpose']}")
        said("1(a)", f"Team: {facts.team}. Owner: {spec.get('owner', 'nobody, who owned it has left')}")
        said("1(a)", f"Version: {facts.version}, {len(found.versions)} declared so far")
        points["1(b)"] += tools
        said("1(c)", f"Prompt: {spec['prompt']['digest']}")
        said("1(g)", f"It speaks to: {spec['audience']}. Text comes from: {', '.join(spec['inputs'])}")
        for model in spec["models"]:
            under = model.get("agreement", "none")
            said("2(a)", f"Model: {model['model']} of {model['provider']}, agreement: {under}")
        said("2(b)", f"Autonomy: {spec['autonomy']}. Reach: {spec['reach']}")
        for store in spec.get("stores", ()):
            said("2(c)", f"Store ({store['kind']}): {store['adapter']}, namespace {store['namespace']}")
        for delegate in spec.get("delegates", ()):
            said("2(c)", f"Hands work on to the agent {delegate['agent']}")
        said("2(d)", f"Data classes it may touch: {', '.join(spec['data']) or 'none'}")
        self._oversight(found, said)
        self._risks(found, said)
        for event in [one for one in found.timeline if one.kind in {"agent.registered", "agent.versioned"}][:_SHOWN]:
            changed = ", ".join(event.body.get("facets_changed", ())) or "registered"
            said("6", f"Version {event.version}: {changed}", event.record)
        if found.baseline is not None:
            told = f"Behaviour is compared with the baseline of version {found.baseline.version}"
            said("9", told, records.get("state"))
        said("9", f"Open alerts: {sum(one.closed_us is None for one in found.incidents)} incidents,"
                  f" {len(found.alerts)} alerts on record", None)  # fmt: skip
        return dict(points)

    @staticmethod
    def _oversight(found: Dossier, said: Any) -> None:
        policy = found.records.get("policy")
        for hit in (found.access.ceilings if found.access else ())[:_SHOWN]:
            does = f"holds calls for the role {hit.role}" if hit.role else "limits calls"
            said("2(e)", f"The policy {hit.policy} {does}: {', '.join(hit.tools)}", policy)
        for vote in found.approved.votes if found.approved else ():
            said("2(e)", f"Approved in the role {vote.vote.role.value}: {vote.vote.verdict.value}", vote.record)
        said("2(e)", "It can be stopped at once: suspension, quarantine and revocation end its calls in flight", None)
        said("2(f)", "A change of a version is approved anew by every role that judges a facet it changes", None)
        version = found.records.get("version")
        for part, what in sorted(found.envelope.parts.items()):
            told = ", ".join(sorted(_entry(one) for one in (what.items() if part == "limits" else what)))
            said("2(f)", f"Approved beforehand, of {part}: {told}"[:_MOST_TEXT], version)
        for use in found.envelope.uses[:_SHOWN]:
            said("2(f)", f"Version {use.version} came into force within it", use.record)
        said("2(h)", "Every call is authenticated, decided by policy, limited and recorded before it is sent", None)
        if found.access is not None:
            said("2(h)", f"Access beyond what was approved: {len(found.access.excess)} findings", policy)

    @staticmethod
    def _risks(found: Dossier, said: Any) -> None:
        state = found.records.get("state")
        limits = found.agent.version.limits
        said("3", f"Limits: {limits.calls_per_minute} calls a minute, {limits.concurrency} at once,"
                  f" cost a day: {limits.cost_per_day or 'not limited'}")  # fmt: skip
        if found.tiering is not None:
            said("5", f"Risk tier: {found.tiering.tier or 'none, it is blocked'}, score {found.tiering.score}", state)
            for floor in found.tiering.floors:
                said("5", f"At least {floor.tier} by the rule {floor.rule}: {floor.reason}", state)
        for vote in found.approved.votes if found.approved else ():
            if vote.vote.assessment is not None:
                said("5", f"Risk assessment {vote.vote.assessment}, judged as {vote.vote.role.value}", vote.record)
        for one in found.incidents[:_SHOWN]:
            said("5", f"Incident of severity {one.severity}, {'open' if one.open else 'closed'}", None)


def _tool_facts(found: Dossier, facts: AgentFacts) -> Iterable[RecordedFact]:
    for tool in facts.tools:
        data = ", ".join(tool.data) or "none"
        yield RecordedFact(f"{tool.effect}: {tool.id}, data: {data}", found.records.get(f"tool/{tool.id}"))


def _entry(one: Any) -> str:
    """What an envelope names, on one line."""
    if isinstance(one, str):
        return one
    if isinstance(one, Mapping):
        return f"{one['model']} of {one['provider']}"
    name, most = one
    return f"{name} up to {money_from(most) if isinstance(most, Mapping) else most}"


def form_of(value: Any) -> ExchangeForm | None:
    """Which form a document has, by what only that one says."""
    if not isinstance(value, dict):
        return None
    if value.get("bomFormat") == "CycloneDX":
        return ExchangeForm.CYCLONEDX
    if "schema_version" in value and {"modules", "extensions", "locators"} & value.keys():
        return ExchangeForm.OASF
    if "name" in value and {"capabilities", "supportedInterfaces", "protocolVersion"} & value.keys():
        return ExchangeForm.A2A
    return None
