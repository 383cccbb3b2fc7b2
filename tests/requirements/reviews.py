"""Promises about reviews of agents."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("reviews:schedule", "issue 6 §5", "reviews begin on their day; schedules only add to what is built in"),
    Requirement("reviews:triggers", "issue 6 §5", "what happens to an agent has it reviewed, once, and alone"),
    Requirement("reviews:card:alone", "issue 6 §5", "harmful, unused, new and exceptional ones stand by themselves"),
    Requirement("reviews:card:share", "issue 6, numbers", "of 50 agents with 40 permissions at most 15 % stand alone"),
    Requirement("reviews:card:suggestion", "issue 6 §5", "what is suggested follows from use, with its reason, live"),
    Requirement("reviews:card:effect", "issue 6 §5", "each removal is simulated over the recorded calls of 90 days"),
    Requirement("reviews:deciding", "issue 6 §5", "a decision is on what was shown, by who may, never in bulk"),
    Requirement("reviews:words", "issue 6 §5", "the need is stated in own words; what was said before is refused"),
    Requirement("reviews:careful", "issue 6 §5", "bulk, haste or a seeded permission that is kept bring another look"),
    Requirement("reviews:seeds", "issue 6 §5", "a seeded permission is told apart by nobody and never carried out"),
    Requirement("reviews:silence", "issue 6 §5", "who does not answer loses what is unused, then the agent is stopped"),
    Requirement("reviews:population", "issue 6 §5", "every identity that was seen is reviewed, answered or missing"),
    Requirement("reviews:carried-out", "issue 6 §5", "what was decided is carried out, looked up, and kept so"),
    Requirement("reviews:durable", "DESIGN §11", "a killed process goes on with a review where it was"),
    Requirement("reviews:shown", "issue 6 §5", "reviews are done by API, command line and console, with a report"),
)
