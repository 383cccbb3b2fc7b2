"""Promises of models behind the gateway."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "llm:clients", "issue 5 §2", "The official clients work with another address and key, and nothing else."
    ),
    Requirement("llm:bytes", "issue 5 §2", "Requests and answers pass byte for byte."),
    Requirement(
        "llm:refused", "DESIGN §3.4, issue 5 §2", "Ambiguous bodies, models not granted and hosted tools never leave."
    ),
    Requirement("llm:policy", "DESIGN §3.5", "A call is `llm/chat` on a `Model` in its `Provider`, with typed facts."),
    Requirement("llm:budget", "DESIGN §3.13", "The worst cost is reserved, the usage is paid; nothing overspends."),
    Requirement(
        "llm:race", "issue 5, bad input and faults", "A budget raced by 100 calls of every shape is never overspent."
    ),
    Requirement("llm:ends", "issue 5 §2", "Disconnect, broken, endless or empty answers end and settle the call once."),
    Requirement("llm:reasons", "issue 5 §3", "Request, reasoning and tool calls of an answer are kept, sealed."),
    Requirement("llm:joined", "issue 5 §3", "A tool call names the model's answer that asked for it, and opens to it."),
    Requirement("llm:joined:agent", "issue 5 §3, DESIGN §3.6", "Joins stay within an agent, user, task and session."),
    Requirement("llm:joined:call", "issue 5 §3", "A call's own id picks among the answers that its agent was told."),
    Requirement("llm:joined:kept", "issue 5 §3, DESIGN §11", "A tool call after a restart names the answer before it."),
    Requirement("llm:gate", "issue 5 §2", "Where policies say so, what an answer asks for is decided before it shows."),
    Requirement("llm:timeouts", "issue 5 §2", "Connecting, beginning, going on and the whole call each have a time."),
    Requirement("llm:prices", "issue 5 §2", "List prices are pinned at registration; no model is without a price."),
    Requirement("llm:detected", "DESIGN §3.7", "Classes in answers are on record; undeclared ones withheld by tier."),
    Requirement("llm:origins", "DESIGN §3.6", "What a user asked a model for is `user_declared`, for that credential."),
    Requirement("llm:upstream", "DESIGN §4", "Keys are brokered and scrubbed, redirects refused."),
    Requirement("llm:register", "issue 5 §2", "A provider is registered with its models and their prices."),
)
