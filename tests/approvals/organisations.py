"""Whether anybody in a random organisation gets something approved that they asked for, by any path there is.

Each organisation asks for one version of an agent, at a gate with or without a rule of its own, with or without a
template. Everybody tries every role, in any order, with any verdict and under obligations, while roles, delegations and
accounts come about and people leave. Whatever is cleared in the end is judged by the naive second implementation; so is
whoever could break glass for the agent. `make duties` runs ten thousand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import replace
from random import Random  # noqa: TID251 - seeded, to draw organisations

from accredit.approvals.breakglass import BreakGlass, check_breaking
from accredit.approvals.model import ApprovalRequest, Obligation, Parties, VoteVerdict
from accredit.kernel.canonical import digest
from accredit.kernel.clock import ClockWatch, ScriptedClock
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import PersonId, ToolId
from accredit.registry.model import GateRule, RestrictionKind, Role
from accredit.registry.organisation import Delegation, Organisation, RoleGrant
from accredit.registry.templates import Template
from tests.approvals.drawing import NOW_US, OLD_US, OPENED_US, TEAM, drawn, tie
from tests.approvals.naive import MONTH_US, may_vote, same_persons
from tests.approvals.office import Office, operator, version

HOUR_US = 3_600_000_000
ROLES = (Role.TEAM_LEAD, Role.SECURITY)


class SelfApprovedError(AssertionError):
    """Somebody on the asking side had a word in it."""


def barred_persons(organisation: Organisation, parties: Parties, opened_us: int, now_us: int) -> set[str]:
    """Everybody who has no word, by the naive reading."""
    same = same_persons(organisation, parties, now_us)
    found = set(same)
    for one in organisation.delegations:
        if one.until_us >= opened_us and (one.holder in same or one.to in same):
            found |= {one.holder, one.to}
    return found | {one.by for one in organisation.ties if one.account in same and now_us - one.at_us < MONTH_US}


def _moved(draw: Random, organisation: Organisation, who: list[PersonId], now_us: int) -> Organisation:
    """Something changes while votes are cast."""
    match draw.randrange(5):
        case 0:
            made = RoleGrant("rgr_late", draw.choice(ROLES), draw.choice(who), None, frozenset(), now_us)
            return replace(organisation, grants=(*organisation.grants, made))
        case 1:
            holder, to = draw.sample(who, 2)
            lent = Delegation("dlg_late", holder, to, draw.choice(ROLES), now_us, now_us + HOUR_US)
            return replace(organisation, delegations=(*organisation.delegations, lent))
        case 2:
            return replace(organisation, ties=(*organisation.ties, tie(draw, who, now_us)))
        case 3:
            known = dict(organisation.people)
            gone = draw.choice(who)
            if gone in known:
                known[gone] = replace(known[gone], left=True)
            return replace(organisation, people=known)
        case _:
            return organisation


def _office(draw: Random, organisation: Organisation, parties: Parties, who: list[PersonId]) -> Office:
    office = Office()
    office.clock = ScriptedClock(OPENED_US)
    office.watch = ClockWatch(office.clock.now())
    # as many people as there are hold something, or hardly any gate would be complete
    more = [
        RoleGrant(f"rgr_more_{at}", ROLES[at % 2], one, draw.choice([None, TEAM]), frozenset(), OLD_US)
        for at, one in enumerate(draw.sample(who, min(len(who), 4)))
    ]
    lent = tuple(
        Delegation(f"dlg_more_{one.id}", PersonId(one.holder), draw.choice(who), one.role, OLD_US, NOW_US * 2)
        for one in more
        if draw.random() < 0.2
    )
    lent = tuple(one for one in lent if one.holder != one.to)
    office.organisation = replace(
        organisation, grants=(*organisation.grants, *more), delegations=(*organisation.delegations, *lent)
    )
    office.wrote = parties.authors
    rule = GateRule({draw.choice(ROLES): draw.choice([1, 2])}, draw.random() < 0.5) if draw.random() < 0.4 else None
    by = frozenset(draw.sample(who, min(len(who), draw.choice([0, 2, 2, 3]))))
    made = Template("writer", TEAM, digest("test-template", b"1"), {}, by, draw.choice([NOW_US - 5, NOW_US * 2]))
    templates = (made,) if draw.random() < 0.5 else ()
    tools = frozenset({ToolId("crm/read")})
    office.grounds = replace(office.grounds, rule=rule, templates=templates, tools=tools)
    office.approvals = office.remade()
    return office


async def _lived(draw: Random, seen: Counter[str]) -> None:
    organisation, parties, who = drawn(draw)
    office = _office(draw, organisation, parties, who)
    asker = parties.requester or draw.choice(who)
    owners = [*parties.owners, *parties.beneficiaries, draw.choice(who)]
    agent = replace(office.agent, owner=owners[0], backup_owner=owners[1] if len(owners) > 1 else None)
    credential = operator(next(iter(_NAMED)))
    request = await office.approvals.open_version(agent, version(), replace(credential, person=asker))
    turns = [(person, role) for person in who for role in ROLES] * 2
    draw.shuffle(turns)
    for person, role in turns:
        office.clock.advance(60)
        if draw.random() < 0.08:
            office.organisation = _moved(draw, office.organisation, who, office.clock.now().wall_us)
        verdict = draw.choices(list(VoteVerdict), [12, 0.4, 1.5])[0]
        under = [Obligation(RestrictionKind.THROTTLE, person, role, calls_per_minute=9)] if draw.random() < 0.2 else []
        try:
            await office.approvals.vote(
                request.id, replace(credential, person=person), role=role, verdict=verdict,
                view_digest=office.approvals.view(request.id)[1], comment="seen",
                obligations=under if verdict is VoteVerdict.APPROVE else (),
            )  # fmt: skip
            seen[f"voted {verdict}"] += 1
        except AccreditError as error:
            seen[f"refused {error.code}"] += 1
    _judged(office, request, seen)
    _glass(draw, office, request.parties, who, seen)


def _judged(office: Office, request: ApprovalRequest, seen: Counter[str]) -> None:
    organisation, now_us = office.organisation, office.clock.now().wall_us
    try:
        clearance = office.cleared(request)
    except AccreditError:
        seen["not cleared"] += 1
        return
    present = office.present(request)
    barred = barred_persons(organisation, present.parties, present.opened_us, now_us)
    behind = {vote.for_person for vote in present.approvals if vote.for_person is not None}
    if not clearance.by or barred & {*clearance.by, *behind}:
        raise SelfApprovedError((organisation, present))
    for vote in present.approvals:
        others = tuple(one for one in present.votes if one is not vote)
        may, _ = may_vote(
            organisation, present.parties, vote.person, vote.role, TEAM,
            opened_us=present.opened_us, now_us=now_us, others=others, cast=vote,
        )  # fmt: skip
        if not may:
            raise SelfApprovedError((organisation, present, vote))
    leads = {vote.person for vote in present.approvals if vote.role is Role.TEAM_LEAD}
    security = {vote.person for vote in present.approvals if vote.role is Role.SECURITY}
    rule, within = office.grounds.rule, any(need.template for need in present.needs)
    asked = rule.roles if rule is not None and not within else {}
    if within:
        (template,) = office.grounds.templates
        if barred & template.by or now_us >= template.expires_us or not template.by:
            raise SelfApprovedError((organisation, present, template))
        seen["cleared within a template"] += 1
    elif len(security) < max(1, asked.get(Role.SECURITY, 1)):
        raise SelfApprovedError((organisation, present))
    if len(leads) < max(1, asked.get(Role.TEAM_LEAD, 1)) or leads & security:
        raise SelfApprovedError((organisation, present))
    seen["cleared"] += 1
    seen["cleared by a quorum"] += any(count > 1 for count in asked.values())
    seen["cleared in another's place"] += bool(behind)
    seen["cleared under obligations"] += bool(present.obligations)


def _glass(draw: Random, office: Office, parties: Parties, who: list[PersonId], seen: Counter[str]) -> None:
    sides = Parties(None, parties.authors, parties.owners)
    now_us = office.clock.now().wall_us
    barred = barred_persons(office.organisation, sides, now_us, now_us)
    person, tool = draw.choice(who), ToolId("crm/read")
    made = BreakGlass("bgl_1", office.agent.id, (tool,), ("org/p",), person, now_us, now_us + HOUR_US, "apr_1")
    try:
        check_breaking(made, (), office.organisation, sides, reason="fire", tools={tool}, holds={"org/p"})
    except AccreditError:
        seen["glass refused"] += 1
        return
    if person in barred:
        raise SelfApprovedError((office.organisation, sides, person))
    seen["glass broken"] += 1


_NAMED = Office().organisation.people


def tried(count: int, seed: int = 20261127) -> Counter[str]:
    """What came of so many organisations.

    Raises:
        SelfApprovedError: in one of them somebody got their own thing approved.
    """
    draw, seen = Random(seed), Counter[str]()
    for _ in range(count):
        asyncio.run(_lived(draw, seen))
    return seen


def main() -> None:
    """One JSON line at the end, as every figure is told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    count = parser.parse_args().count
    seen = tried(count)
    for name, number in sorted(seen.items()):
        sys.stdout.write(f"{number:8} {name}\n")
    metrics = {"cleared": seen["cleared"], "organisations": count, "self_approvals": 0}
    sys.stdout.write(json.dumps({"bench": "duties", "metrics": metrics}) + "\n")


if __name__ == "__main__":
    main()
