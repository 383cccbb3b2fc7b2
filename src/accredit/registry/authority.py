"""Which act on the control plane a person may do, and in what capacity. Pure.

Voting is not here: who may vote on what is `approvals.duties`'. Acts that only narrow are open to more people than
those that widen, so that stopping an agent never waits for anybody. What security put on an agent is taken off by
somebody else than its owners, whatever role they hold; in development, where nobody signs an agent off, by them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.model import APPROVER_ROLES, Agent, Environment, Role
from accredit.registry.organisation import Organisation

__all__ = ["Act", "Permitted", "Unauthorised", "authority"]


class Act(StrEnum):
    """What can be done on the control plane."""

    MANAGE_PEOPLE = "manage people"
    MANAGE_ISSUERS = "manage issuers, agreements and enforcement points"
    REGISTER_SERVER = "register tool servers"
    STORE_CREDENTIAL = "store upstream credentials"
    REGISTER_AGENT = "register agents"
    ENROL = "enrol instances"
    CONFIRM_CREDENTIAL = "confirm credentials"
    SUBMIT = "submit versions"
    ASSESS = "assess risks"
    ACTIVATE = "activate agents"
    SUSPEND = "suspend agents"
    REVOKE = "revoke credentials"
    RESUME = "resume agents"
    LIFT_QUARANTINE = "lift quarantines"
    RESTRICT = "restrict agents"
    LIFT_RESTRICTION = "lift restrictions"
    RETIRE = "retire agents"
    BREAK_GLASS = "break glass"
    HANDLE_ALERT = "handle alerts"
    PUBLISH_POLICY = "propose policies"
    REVOKE_ISSUER = "revoke issuers and enforcement points"
    FLAG_INCIDENT = "flag incidents"
    CLOSE_INCIDENT = "close incidents"
    CONFIRM_CLOCK = "confirm the clock"
    REPORT_DISCOVERY = "report what was discovered"
    ANSWER_FINDING = "answer findings"
    SCAN_STORE = "scan stores"
    REVIEW_STORE = "review stores"
    PURGE_STORE = "purge stores"
    PLACE_LEGAL_HOLD = "place legal holds"
    LIFT_LEGAL_HOLD = "lift legal holds"
    ERASE_SUBJECT = "erase subjects from the log"
    RUN_REVIEWS = "run reviews"
    REVIEW_AGENT = "review agents"
    STATE_NEED = "say whether an agent is still needed"
    LEARN_BASELINE = "have baselines learned"
    ACCEPT_BASELINE = "accept baselines"
    READ = "read"


class _As(StrEnum):
    OWNER = "owner"
    BACKUP = "backup owner"


_OWNERS = (_As.OWNER, _As.BACKUP)
_MAY: Mapping[Act, tuple[Role | _As, ...]] = {
    Act.MANAGE_PEOPLE: (Role.ADMIN,),
    Act.MANAGE_ISSUERS: (Role.ADMIN, Role.OPERATOR),
    Act.REGISTER_SERVER: (Role.OPERATOR,),
    Act.STORE_CREDENTIAL: (Role.OPERATOR,),
    Act.REGISTER_AGENT: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.ENROL: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.CONFIRM_CREDENTIAL: _OWNERS,
    Act.SUBMIT: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.ASSESS: (*_OWNERS, Role.SECURITY, Role.COMPLIANCE, Role.BUSINESS_OWNER),
    Act.ACTIVATE: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.SUSPEND: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR, Role.SECURITY, Role.ADMIN),
    Act.REVOKE: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR, Role.SECURITY, Role.ADMIN),
    Act.RESUME: (Role.OPERATOR, Role.SECURITY),
    Act.LIFT_QUARANTINE: (Role.SECURITY,),
    Act.RESTRICT: (Role.SECURITY, Role.OPERATOR),
    Act.LIFT_RESTRICTION: (Role.SECURITY,),
    Act.RETIRE: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.BREAK_GLASS: (Role.TEAM_LEAD, Role.OPERATOR, Role.SECURITY),
    Act.HANDLE_ALERT: (*_OWNERS, Role.SECURITY, Role.OPERATOR),
    Act.PUBLISH_POLICY: (Role.TEAM_LEAD, Role.OPERATOR, Role.SECURITY),
    Act.REVOKE_ISSUER: (Role.OPERATOR, Role.SECURITY, Role.ADMIN),
    Act.FLAG_INCIDENT: (Role.SECURITY, Role.COMPLIANCE, Role.OPERATOR),
    Act.CLOSE_INCIDENT: (Role.SECURITY, Role.COMPLIANCE, Role.OPERATOR),
    Act.CONFIRM_CLOCK: (Role.OPERATOR, Role.ADMIN),
    Act.REPORT_DISCOVERY: (Role.SECURITY, Role.OPERATOR),
    Act.ANSWER_FINDING: (*_OWNERS, Role.TEAM_LEAD, Role.SECURITY, Role.OPERATOR),
    Act.SCAN_STORE: (*_OWNERS, Role.SECURITY, Role.COMPLIANCE, Role.OPERATOR),
    Act.REVIEW_STORE: (*_OWNERS, Role.TEAM_LEAD, Role.COMPLIANCE),
    Act.PURGE_STORE: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR),
    Act.PLACE_LEGAL_HOLD: (Role.COMPLIANCE, Role.SECURITY, Role.ADMIN),
    Act.LIFT_LEGAL_HOLD: (Role.COMPLIANCE,),
    Act.ERASE_SUBJECT: (Role.COMPLIANCE, Role.OPERATOR, Role.ADMIN),
    Act.RUN_REVIEWS: (Role.SECURITY, Role.COMPLIANCE),
    Act.REVIEW_AGENT: (*_OWNERS, Role.TEAM_LEAD, Role.SECURITY),
    Act.STATE_NEED: _OWNERS,
    Act.LEARN_BASELINE: (*_OWNERS, Role.TEAM_LEAD, Role.OPERATOR, Role.SECURITY),
    Act.ACCEPT_BASELINE: (*_OWNERS, Role.TEAM_LEAD, Role.SECURITY),
}
_NOT_BY_OWNERS = frozenset({Act.RESUME, Act.LIFT_QUARANTINE, Act.LIFT_RESTRICTION, Act.CLOSE_INCIDENT})


@dataclass(frozen=True, slots=True)
class Permitted:
    """The act may be done, in this capacity."""

    capacity: str


@dataclass(frozen=True, slots=True)
class Unauthorised:
    """The act may not be done; who could."""

    who_may: tuple[str, ...]


def authority(
    act: Act,
    person: PersonId,
    organisation: Organisation,
    *,
    agent: Agent | None = None,
    team: TeamId | None = None,
    environment: Environment | None = None,
    single_admin: bool = False,
) -> Permitted | Unauthorised:
    """Whether a person may do an act, to an agent or for a team if one is given.

    With `single_admin` (there is no second administrator yet) an administrator may do everything outside production.
    """
    known = organisation.people.get(person)
    who_may = tuple(str(one) for one in _MAY.get(act, ()))
    if known is None or known.left:
        return Unauthorised(who_may)
    where = environment or (agent.environment if agent else None)
    if single_admin and where is not Environment.PRODUCTION and organisation.held(person, Role.ADMIN, None):
        return Permitted("single-admin")
    if act in _NOT_BY_OWNERS and where is not Environment.DEVELOPMENT and _owns(person, agent):
        return Unauthorised(tuple(f"{one} who does not own the agent" for one in who_may))
    of_team = team or (agent.team.id if agent else None)
    if act is Act.READ:
        roles = sorted(role for role, _ in organisation.roles_of(person))
        if roles or agent is None or _owns(person, agent):
            return Permitted(roles[0] if roles else "owner")
        return Unauthorised(who_may)
    for capacity in _MAY[act]:
        match capacity:
            case _As.OWNER if agent is not None and agent.owner == person:
                return Permitted(capacity)
            case _As.BACKUP if agent is not None and agent.backup_owner == person:
                return Permitted(capacity)
            case Role() if known.bot and capacity in APPROVER_ROLES:
                continue  # which a group may have lent it: a role that votes is a person's
            case Role() if organisation.held(person, capacity, of_team):
                return Permitted(capacity)
            case _:
                continue
    return Unauthorised(who_may)


def _owns(person: PersonId, agent: Agent | None) -> bool:
    return agent is not None and person in {agent.owner, agent.backup_owner}
