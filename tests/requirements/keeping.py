"""Promises of how long records are kept: legal holds, erasure, retention, archives."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("keeping:hold:beats", "DESIGN §5", "a legal hold keeps all that it could mean, the unknown included"),
    Requirement("keeping:hold:two", "DESIGN §5", "placer and lifter differ, whichever accounts they use"),
    Requirement("keeping:hold:proven", "DESIGN §3.2", "a hold the log contradicts stops every deletion"),
    Requirement("keeping:hold:nameless", "DESIGN §5", "no hold keeps the name of the subject it means"),
    Requirement("keeping:erase:exactly", "DESIGN §5", "erasing a subject destroys the keys of their parts, no other"),
    Requirement("keeping:erase:residue", "issue 6 §9", "no file of the store has a byte of a destroyed key left"),
    Requirement("keeping:erase:named", "DESIGN §5", "neither request nor record of an erasure says who it was"),
    Requirement("keeping:erase:found", "DESIGN §5", "user, task, signed facts, detected and literal values are found"),
    Requirement("keeping:erase:shared", "DESIGN §5", "every part that is indexed to whoever is erased goes"),
    Requirement("keeping:erase:two", "DESIGN §1", "an erasure takes two persons, the second in compliance"),
    Requirement("keeping:erase:resumed", "DESIGN §11", "killed at any step, an erasure goes on where it stands"),
    Requirement("keeping:erase:tombstone", "DESIGN §5", "an erased part verifies only with its tombstone"),
    Requirement("keeping:schedule:bounds", "issue 6 §8", "the longest minimum wins, a cap beats it, none goes beyond"),
    Requirement("keeping:schedule:carried-out", "issue 6 §8", "parts go when their time is over, and nothing earlier"),
    Requirement("keeping:schedule:held", "DESIGN §5", "what a hold keeps is passed over until the hold is lifted"),
    Requirement("keeping:archive:proven", "DESIGN §5", "an archive proves itself offline; any changed byte is found"),
    Requirement("keeping:archive:continued", "DESIGN §5", "archiving again adds what is new and never loses what was"),
)
