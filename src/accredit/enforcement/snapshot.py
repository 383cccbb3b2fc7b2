"""What every decision of one moment is judged by, swapped whole (DESIGN §3.2).

A snapshot is built from proven control state alone. A change makes the next one by sharing what it did not touch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from accredit.approvals.breakglass import BREAK_GLASS, BreakGlass, break_glass_from, lifted_by
from accredit.audit.ports import Change, ControlLog
from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, PersonId, ServerName, ToolId, tool_id
from accredit.policy.ports import Engine, VetoEngine
from accredit.policy.releases import PolicyReleases
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry import rows
from accredit.registry.catalogue import Catalogue
from accredit.registry.directories import DIRECTORY_KINDS, Entitlements, right_lost
from accredit.registry.model import Agent, Environment, Restriction

__all__ = ["Snapshot", "SnapshotKeeper"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Immutable. A decision never mixes two."""

    catalogue: Catalogue
    policy: PolicySnapshot
    position: int | None
    """Of the newest control record; None while something is in force that the log does not tell yet."""
    unproven: frozenset[tuple[str, str]]
    policy_proven: bool
    restrictions: Mapping[AgentId, tuple[Restriction, ...]] = field(default_factory=dict)
    """Every one on record, lapsed or not, by the agent it is on."""
    broken: Mapping[AgentId, tuple[BreakGlass, ...]] = field(default_factory=dict)
    """Every break-glass on record, by the agent it is for."""
    entitlements: Entitlements = field(default_factory=Entitlements)
    """What directories say of people."""

    @property
    def digest(self) -> Digest:
        """Of the release and every fact about tools a decision can depend on."""
        return self.policy.digest

    def unproven_for(self, agent: AgentId, server: ServerName | None, tool: str) -> Code | None:
        """`state_unproven` if the log contradicts a row that a call of this agent to this tool rests on."""
        if not self.unproven and self.policy_proven:
            return None
        rests_on: set[tuple[str, str]] = {("agent", agent), ("epoch", agent)}
        found, offers = self.catalogue.agent(agent), None
        if server is not None:
            rests_on |= {("server", server), ("tool", tool_id(server, tool))}
            offers = self.catalogue.server(server)
        if found is not None:
            rests_on |= {("version", found.version.digest), ("team", found.team.id)}
        # a row that is not loaded names nothing it belongs to: what is missing may be missing for want of it
        kinds = {kind for kind, _ in self.unproven}
        lost = (
            rows.RESTRICTION in kinds  # it may be this agent's
            or bool(kinds & DIRECTORY_KINDS)  # it may be what takes a right away
            or (found is None and kinds & {"version", "team"})
            or (server is None and kinds & {"server", "tool", "definition"})
            or (offers is not None and tool not in offers.tools and "definition" in kinds)
        )
        return None if self.policy_proven and not lost and not (rests_on & self.unproven) else Code.STATE_UNPROVEN

    def restrictions_on(self, agent: AgentId, *, now_us: int, time_trusted: bool) -> tuple[Restriction, ...]:
        """The restrictions in force on an agent; while the clock is not confirmed, none of them has lapsed."""
        found = self.restrictions.get(agent, ())
        found = tuple(one for one in found if one.in_force(now_us)) if found and time_trusted else found
        known = self.catalogue.agent(agent) if self.entitlements.governed else None
        return found if known is None else (*found, *self.entitlements.lost_by(known))

    def restriction_on(self, agent: AgentId, id_: str) -> Restriction | None:
        """A restriction on an agent by its id: one on record, or one that its id says all of."""
        found = (one for one in self.restrictions.get(agent, ()) if one.id == id_)
        return next(found, None) or right_lost(id_, agent)

    def lost_for(self, principal: Principal, agent: AgentId) -> tuple[Restriction, ...]:
        """What an agent may not do for whom it acts for, who has no right to it."""
        issuer, subject = _user_of(principal)
        return self.entitlements.lost_for(agent, issuer, subject) if issuer is not None else ()

    def withdrawn(self, principal: Principal) -> frozenset[str]:
        """Roles of whom the call is made for that count no more, whatever the token says."""
        issuer, subject = _user_of(principal)
        if issuer is None or principal.user is None:
            return frozenset()
        return self.entitlements.withdrawn(issuer, subject) & principal.user.roles

    def user_gone(self, principal: Principal) -> bool:
        """Whether a directory says that whom the call is made for is not there any more."""
        issuer, subject = _user_of(principal)
        return issuer is not None and self.entitlements.gone(issuer, subject)

    def lifted_on(self, agent: AgentId, tool: ToolId, *, now_us: int, time_trusted: bool) -> frozenset[str]:
        """Whose holds do not wait now for a call of a tool by break-glass; none while the clock is not confirmed."""
        found = self.broken.get(agent, ())
        return lifted_by(found, tool, now_us=now_us) if found and time_trusted else frozenset()

    def barred_for(self, principal: Principal, *agents: Agent) -> Mapping[PersonId, str]:
        """Who may not answer a hold of a call by these agents: the person it serves, and their owners (DESIGN §3.11).

        In development nobody signs an agent off, so nobody is barred as one of its owners: there the first
        administrator may be all the people there are.
        """
        barred: dict[PersonId, str] = {}
        for agent in agents:
            if agent.environment is not Environment.DEVELOPMENT:
                owners = (agent.owner, *([agent.backup_owner] if agent.backup_owner else []))
                barred |= dict.fromkeys(owners, "owner")
        if principal.user is not None:
            addresses = {principal.user.subject, str(principal.user.claims.get("email", ""))}
            for address in addresses:
                if (person := self.catalogue.person(address)) is not None:
                    barred[person.id] = "user"
            issuer, subject = _user_of(principal)
            barred |= dict.fromkeys(self.entitlements.persons_of(issuer, subject), "user")
        return barred


def _user_of(principal: Principal) -> tuple[str | None, str]:
    """The registration of the issuer of whom a call is made for, and what that calls them."""
    if principal.user is None or not principal.registrations:
        return None, ""
    return principal.registrations[0], principal.user.subject


class SnapshotKeeper:
    """Keeps the snapshot of now."""

    def __init__(
        self, control: ControlLog, releases: PolicyReleases, engine: Engine, veto: VetoEngine | None = None
    ) -> None:
        self._control = control
        self._releases = releases
        catalogue = Catalogue.of(control.view)
        policy = PolicySnapshot(releases.current, catalogue.servers(), engine, veto=veto)
        restrictions = _grouped(rows.restriction_from(row.key, row.doc) for row in control.view.scan(rows.RESTRICTION))
        broken = _by_agent(break_glass_from(row.key, row.doc) for row in control.view.scan(BREAK_GLASS))
        self._current = self._made(catalogue, policy, restrictions, broken, Entitlements.of(control.view))
        # after the releases': a listener that subscribed earlier is called earlier
        control.subscribe(self._follow)

    @property
    def current(self) -> Snapshot:
        """The snapshot of now."""
        if self._current.position != self._control.recorded:  # a narrowing change got its record
            self._current = replace(self._current, position=self._control.recorded)
        return self._current

    def _made(
        self,
        catalogue: Catalogue,
        policy: PolicySnapshot,
        restrictions: Mapping[AgentId, tuple[Restriction, ...]],
        broken: Mapping[AgentId, tuple[BreakGlass, ...]],
        entitlements: Entitlements,
    ) -> Snapshot:
        control, proven = self._control, self._releases.proven
        return Snapshot(
            catalogue, policy, control.recorded, control.unproven, proven, restrictions, broken, entitlements
        )

    def _follow(self, change: Change) -> None:
        before = self._current
        catalogue = before.catalogue.with_change(change, self._control.view)
        policy = before.policy
        if any(write.kind in {"server", "tool"} for write in change.writes):
            policy = policy.with_catalogue(catalogue.servers())
        if self._releases.current is not policy.release:
            policy = policy.with_release(self._releases.current)
        for write in change.writes:
            if write.kind == "agent" and (agent := catalogue.agent(AgentId(write.key))) is not None:
                policy.grants.warm(
                    (*agent.version.grants, *agent.version.delegates)
                )  # else the agent's first call would pay for it
        self._current = self._made(
            catalogue,
            policy,
            _restricted(before.restrictions, change),
            _broken(before.broken, change),
            before.entitlements.after(change.writes),
        )


def _grouped(restrictions: Iterable[Restriction]) -> Mapping[AgentId, tuple[Restriction, ...]]:
    found: defaultdict[AgentId, list[Restriction]] = defaultdict(list)
    for one in restrictions:
        found[one.agent].append(one)
    return {agent: tuple(sorted(on, key=lambda one: one.id)) for agent, on in found.items()}


def _restricted(
    before: Mapping[AgentId, tuple[Restriction, ...]], change: Change
) -> Mapping[AgentId, tuple[Restriction, ...]]:
    written = {write.key: write.doc for write in change.writes if write.kind == rows.RESTRICTION}
    if not written:
        return before
    kept = [one for on in before.values() for one in on if one.id not in written]
    return _grouped([*kept, *(rows.restriction_from(key, doc) for key, doc in written.items() if doc is not None)])


def _by_agent(broken: Iterable[BreakGlass]) -> Mapping[AgentId, tuple[BreakGlass, ...]]:
    found: defaultdict[AgentId, list[BreakGlass]] = defaultdict(list)
    for one in broken:
        found[one.agent].append(one)
    return {agent: tuple(of) for agent, of in found.items()}


def _broken(
    before: Mapping[AgentId, tuple[BreakGlass, ...]], change: Change
) -> Mapping[AgentId, tuple[BreakGlass, ...]]:
    written = {write.key: write.doc for write in change.writes if write.kind == BREAK_GLASS}
    if not written:
        return before
    kept = [one for of in before.values() for one in of if one.id not in written]
    return _by_agent([*kept, *(break_glass_from(key, doc) for key, doc in written.items() if doc is not None)])
