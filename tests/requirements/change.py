"""Promises of what a change of an agent needs, and of its tier under observation."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("change:rules", "issue 6 §2", "what only narrows needs no look; everything else does"),
    Requirement("change:complete", "issue 6 §2", "no difference of two versions goes without a change that names it"),
    Requirement("change:non-material", "issue 6 §2", "a version that only narrows needs no vote, and another hand"),
    Requirement("change:material", "issue 6 §2", "what widens is voted on, together with whatever narrows beside it"),
    Requirement("change:creeping", "issue 6 §2", "many small changes are one large one"),
    Requirement("change:widened", "issue 6 §2", "a narrower declaration that is allowed more is voted on"),
    Requirement("tier:deadline", "issue 6 §4", "a tier that rose and is not answered in five days stops the agent"),
    Requirement("unused:told", "issue 6 §4", "what is granted and was not used is told with its last use"),
)
