"""Promises of the AuthZEN API and of policies for types of other applications."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("gateway:authzen:certification", "issue 4 §8", "Every test of the certification scenario passes."),
    Requirement("gateway:authzen:interop", "issue 4 §8", "Published interop scenarios come out pair by pair."),
    Requirement(
        "gateway:authzen:askers",
        "issue 4 §8",
        "Points ask about what they were registered for, agents about themselves, nobody else at all.",
    ),
    Requirement(
        "gateway:authzen:refused-askers",
        "issue 4 §8",
        "Whoever asks about what is not theirs is on record with the credential, within the flood bound.",
    ),
    Requirement(
        "gateway:authzen:answers",
        "issue 4 §8",
        "An answer tells its reason and no policy; what a release says of an entity is not overridden.",
    ),
    Requirement(
        "gateway:authzen:claims", "issue 4 §8", "What an asker claims of user, task or session is no verified fact."
    ),
    Requirement(
        "gateway:authzen:reserves-nothing",
        "issue 4 §8",
        "Asking reserves nothing, counts against no limit of an agent and is no part of a session.",
    ),
    Requirement(
        "gateway:authzen:semantics",
        "AuthZEN 1.0 §7.1.2",
        "Each semantic of several evaluations ends where it says; a broken member is denied alone.",
    ),
    Requirement(
        "gateway:authzen:bounds",
        "AuthZEN 1.0 §11.5, §11.7",
        "Bodies, names and properties are bounded, JSON is read strictly, numbers fit exactly or deny.",
    ),
    Requirement(
        "gateway:authzen:request-id",
        "AuthZEN 1.0 §10.1.3",
        "A request id comes back with whatever is answered, or is refused.",
    ),
    Requirement(
        "gateway:authzen:pages",
        "AuthZEN 1.0 §8.2",
        "Pages are the whole result once; their tokens count for one asker and one search, for an hour.",
    ),
    Requirement("gateway:authzen:limits", "issue 4 §8", "A point that asks too often is told when to come back."),
    Requirement(
        "gateway:authzen:recorded", "issue 4 §8", "Every answer is on record before it is given, else there is none."
    ),
    Requirement(
        "gateway:access-requests:approved",
        "access request profile, Completion Semantics",
        "What a person approves allows exactly that once, by an evaluation that names it or by the call itself.",
    ),
    Requirement(
        "gateway:access-requests:bound",
        "access request profile, Denial Binding",
        "Only the denied agent asks, with a token for exactly its question, for ten minutes.",
    ),
    Requirement(
        "gateway:access-requests:once",
        "access request profile, Idempotency",
        "An equal request is the same one, and an idempotency key is for one request.",
    ),
    Requirement(
        "gateway:access-requests:own",
        "access request profile, Task Status",
        "A request is there for its own agent alone, and few are open at once.",
    ),
)
