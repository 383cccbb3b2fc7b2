"""Organisations drawn at random, small and full of ways round, for laws about who may vote."""

from __future__ import annotations

from random import Random  # noqa: TID251 - seeded, to draw organisations

from accredit.approvals.duties import TIE_US
from accredit.approvals.model import Parties
from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.model import Person, Role
from accredit.registry.organisation import AccountTie, Delegation, Group, Membership, Organisation, RoleGrant

OPENED_US, NOW_US = 10 * TIE_US, 10 * TIE_US + 3_600_000_000
TEAM, OTHER_TEAM = TeamId("tea_1"), TeamId("tea_2")
OLD_US = 1


def _two(draw: Random, who: list[PersonId]) -> tuple[PersonId, PersonId]:
    one, other = draw.sample(who, 2)
    return one, other


def tie(draw: Random, who: list[PersonId], at_us: int) -> AccountTie:
    account, by = _two(draw, who)
    return AccountTie(account, by, at_us)


def drawn(draw: Random) -> tuple[Organisation, Parties, list[PersonId]]:
    """A small organisation full of ways round: every size is small, so that they meet.

    In half of them fewer things are in the way, so that many can vote.
    """
    calm = draw.random() < 0.5
    who = [PersonId(f"psn_{number}") for number in range(draw.randint(2, 9))]
    names = [f"group-{number}" for number in range(draw.randint(0, 4))]

    def moment() -> int:
        return draw.choice([OLD_US, OPENED_US - 1, OPENED_US, OPENED_US + 1, NOW_US, NOW_US + 5, NOW_US - TIE_US,
                            NOW_US - TIE_US + 1])  # fmt: skip

    def hands() -> frozenset[PersonId]:
        return frozenset(draw.sample(who, 0 if calm else draw.choice([0, 0, 0, 1, 2])))

    def holder() -> str:
        return f"group:{draw.choice(names)}" if names and draw.random() < 0.5 else draw.choice(who)

    known: dict[PersonId, Person] = {}
    for one in who:
        if draw.random() < 0.05:
            continue
        bot = draw.random() < (0.05 if calm else 0.2)
        controllers = frozenset(holder() for _ in range(draw.randint(0, 2))) if bot else frozenset()
        known[one] = Person(one, f"{one}@example.com", bot, controllers, draw.random() < 0.05)
    groups = {
        name: Group(
            name,
            tuple(
                Membership(one, hands(), draw.choice([OLD_US, moment()]))
                for one in draw.sample(who, draw.randint(0, min(3, len(who))))
            ),
            tuple(
                (inner, draw.choice([OLD_US, moment()])) for inner in draw.sample(names, draw.randint(0, len(names)))
            ),
            hands(),
        )
        for name in names
    }
    grants = tuple(
        RoleGrant(
            f"rg_{number}",
            draw.choice([Role.SECURITY, Role.SECURITY, Role.TEAM_LEAD]),
            holder(),
            draw.choice([None, TEAM, OTHER_TEAM]),
            hands(),
            draw.choice([OLD_US, OLD_US, moment()]),
            draw.choice([None, None, None, NOW_US]),
        )
        for number in range(draw.randint(4, 12) if calm else draw.randint(1, 5))
    )
    delegations = tuple(
        Delegation(
            f"dlg_{number}",
            holder,
            to,
            draw.choice([Role.SECURITY, Role.SECURITY, Role.TEAM_LEAD]),
            OLD_US,
            draw.choice([NOW_US + 5, NOW_US + 5, moment()]),
        )
        for number in range(draw.choice([0, 1, 2, 4]))
        for holder, to in [_two(draw, who)]
    )
    ties = tuple(tie(draw, who, moment()) for _ in range(0 if calm else draw.choice([0, 0, 1, 3])))
    parties = Parties(
        draw.choice([None, *who]),
        hands(),
        frozenset(draw.sample(who, draw.choice([0, 1]))),
        frozenset(draw.sample(who, draw.choice([0, 0, 1]))),
    )
    return Organisation(known, groups, grants, delegations, ties), parties, who
