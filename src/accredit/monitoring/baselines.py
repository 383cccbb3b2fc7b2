"""What each agent was approved to do, kept where the log proves it.

A baseline is opened and closed by the steps of activation and retirement, in their own transactions: this gives the
writes, and reads back what stands.

Its statistical part is learned with each version. An approved change of who owns an agent, whom it serves or what for
changes nothing of what it does by itself: what was accepted is carried over. After any other, learning begins anew, and
sessions are compared with what was accepted for the version before until people accept another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.audit.ports import ControlLog, Row, StateView, Write
from accredit.identity.audience import origin_of
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.monitoring.behaviour import Behaviour, Learning
from accredit.monitoring.model import Baseline
from accredit.monitoring.posture import approved_behaviour
from accredit.monitoring.rows import BASELINE, baseline_doc, baseline_from
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, AgentVersion, Environment
from accredit.registry.rows import VERSION

__all__ = ["BaselineKeeper", "LearningTerms", "behaves_alike", "destination_of", "learns"]

_READ: Final = 1_024
_DAY_US: Final = 86_400_000_000
_NOT_BEHAVIOUR: Final = frozenset({"audience", "owner", "purpose"})
"""Facets of a version that change nothing of what an agent does by itself."""


@dataclass(frozen=True, slots=True)
class LearningTerms:
    """When a baseline is learned."""

    sessions: int = 60
    days: int = 30
    """Then people are told that there are too few."""

    def begun(self, now_us: int, *, sessions: int | None = None, by: PersonId | None = None) -> Learning:
        """Learning that begins now."""
        return Learning(now_us, sessions or self.sessions, now_us + self.days * _DAY_US, by)


def destination_of(catalogue: Catalogue, tool: ToolId) -> str | None:
    """The origin of the server that offers a tool; None if there is none, or none that could be called."""
    found = catalogue.tool(tool)
    server = None if found is None else catalogue.server(found.server)
    if server is None:
        return None
    if server.launch is not None:
        return server.url
    try:
        scheme, host, port = origin_of(server.url)
    except InvalidInputError:
        return None
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def behaves_alike(one: Mapping[str, Digest], other: Mapping[str, Digest]) -> bool:
    """Whether two versions, by their facets, differ in nothing that an agent does by itself."""
    return all(one.get(name) == other.get(name) for name in {*one, *other} - _NOT_BEHAVIOUR)


def learns(doc: Mapping[str, Any]) -> bool:
    """Whether something is to be learned of an agent, by the document of its baseline."""
    behaviour = doc.get("behaviour")
    if doc["closed_us"] is not None:
        return False
    if behaviour is None:
        return True
    return behaviour["proposal"] is None and (behaviour["learning"] is not None or behaviour["accepted"] is None)


class BaselineKeeper:
    """Every agent's newest baseline."""

    def __init__(
        self, control: ControlLog, catalogue: Callable[[], Catalogue], terms: LearningTerms | None = None
    ) -> None:
        self._control = control
        self._catalogue = catalogue
        self.terms = terms or LearningTerms()
        self._read: OrderedDict[AgentId, tuple[Digest, Baseline]] = OrderedDict()

    def of(self, agent: AgentId) -> Baseline | None:
        """The newest baseline, open or closed; None if there is none that the log proves."""
        row = self._control.view.get(BASELINE, agent)
        return None if row is None else self._from(row)

    def accepted(self, agent: AgentId) -> Mapping[str, Any] | None:
        """The document of what an agent is compared with (`rows.fitted_baseline_from`); None: with nothing. Cheap."""
        row = self._control.view.get(BASELINE, agent)
        if row is None or row.doc["closed_us"] is not None:
            return None
        behaviour = row.doc.get("behaviour")
        return None if behaviour is None else behaviour["accepted"]

    def learning(self) -> list[AgentId]:
        """The agents with an open baseline of which something is learned, or nothing was ever."""
        return [AgentId(row.key) for row in self._control.view.scan(BASELINE) if learns(row.doc)]

    def fitted(self) -> frozenset[Digest]:
        """The digests of all sessions that an open baseline refers to."""
        found: set[Digest] = set()
        for row in self._control.view.scan(BASELINE):
            behaviour = row.doc.get("behaviour")
            if row.doc["closed_us"] is None and behaviour is not None:
                parts = (behaviour["accepted"], behaviour["previous"], behaviour["proposal"])
                found.update(part["digest"] for part in parts if part is not None)
        return frozenset(found)

    def agents(self, *, with_any_of: AbstractSet[ToolId] | None = None) -> list[AgentId]:
        """The agents with an open baseline, or those of them whose baseline has any of these tools or models."""
        return [
            AgentId(row.key)
            for row in self._control.view.scan(BASELINE)
            if row.doc["closed_us"] is None
            and (
                with_any_of is None
                or not with_any_of.isdisjoint(row.doc["definitions"])
                or not with_any_of.isdisjoint(row.doc.get("places") or ())
            )
        ]

    def approved(self, agent: Agent, version: AgentVersion, *, at_us: int) -> Baseline:
        """What a baseline of that version would hold now, without keeping it."""
        return self._made(agent, version, None, at_us, None)

    def writes_to_open(
        self, view: StateView, agent: Agent, version: AgentVersion, clearance: Digest | None, now_us: int
    ) -> Sequence[Write]:
        """The version's baseline, in the place of any earlier one; nothing if it is open already. Does no I/O.

        Raises:
            ForbiddenError: a production agent, and no clearance to stand in its baseline.
        """
        if agent.environment is Environment.PRODUCTION and clearance is None:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "a baseline in production rests on a clearance")
        row = view.get(BASELINE, agent.id)
        before = None if row is None else baseline_from(row.key, row.doc)
        if before is not None and before.open and (before.version, before.clearance) == (version.digest, clearance):
            return ()
        made = self._made(agent, version, clearance, now_us, before)
        made = replace(made, behaviour=self._learned(view, before, version, now_us))
        return (Write(BASELINE, agent.id, baseline_doc(made)),)

    def _learned(self, view: StateView, before: Baseline | None, version: AgentVersion, now_us: int) -> Behaviour:
        """The statistical part that a version begins with."""
        behaviour = Behaviour() if before is None else before.behaviour
        if before is not None and before.version != version.digest:
            row = view.get(VERSION, before.version)
            if row is None or not behaves_alike(row.doc["facets"], version.facets):
                return Behaviour(self.terms.begun(now_us), accepted=behaviour.accepted, previous=behaviour.previous)
        if behaviour == Behaviour():
            return Behaviour(self.terms.begun(now_us))
        return behaviour

    def writes_to_close(self, view: StateView, agent: AgentId, now_us: int) -> Sequence[Write]:
        """The agent's baseline closed; nothing if none is open. Does no I/O."""
        row = view.get(BASELINE, agent)
        if row is None or row.doc["closed_us"] is not None:
            return ()
        closed = replace(baseline_from(row.key, row.doc), closed_us=now_us)
        return (Write(BASELINE, agent, baseline_doc(closed)),)

    def _made(
        self, agent: Agent, version: AgentVersion, clearance: Digest | None, now_us: int, before: Baseline | None
    ) -> Baseline:
        catalogue = self._catalogue()
        places = ((grant.tool, destination_of(catalogue, grant.tool)) for grant in version.every_grant)
        return approved_behaviour(
            agent,
            version,
            {tool: place for tool, place in places if place is not None},
            clearance=clearance,
            made_us=now_us,
            before=before,
        )

    def _from(self, row: Row) -> Baseline:
        agent = AgentId(row.key)
        found = self._read.get(agent)
        if found is None or found[0] != row.digest:
            found = self._read[agent] = (row.digest, baseline_from(row.key, row.doc))
            if len(self._read) > _READ:
                self._read.popitem(last=False)
        self._read.move_to_end(agent)
        return found[1]
