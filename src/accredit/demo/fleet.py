"""The sample fleet as manifests: two teams, two people, their issuers, one CRM and three agents."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from accredit.demo.issuers import Directory, TicketDesk

__all__ = [
    "CRM_CREDENTIAL",
    "GROUP",
    "ROLES",
    "STAFF",
    "agents",
    "agreement",
    "as_file",
    "assessment",
    "bot",
    "documents",
    "group",
    "issuers",
    "live_agents",
    "live_server",
    "policies",
    "staff",
    "tool_server",
]

CRM_CREDENTIAL = "crm-key"
GROUP = "desk-leads"
STAFF = ("dana", "lee", "lena", "sam", "cora", "bo", "otto", "una")
"""Everybody but the two administrators, each `NAME@example.com`."""
ROLES: tuple[tuple[str, str, str | None], ...] = (
    ("lena", "team-lead", "finance"),
    ("sam", "security", None),
    ("cora", "compliance", None),
    ("bo", "business-owner", None),
    ("otto", "operator", None),
    ("una", "auditor", None),
)
"""Who gets which role, and for which team alone."""
_WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def _document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind}
    return head | ({"metadata": metadata} if metadata else {}) | {"spec": spec}


def tool_server(url: str, *, environment: str = "development") -> dict[str, Any]:
    """The CRM, with what each tool does to the world, what its results contain and what a call costs."""
    return _document(
        "ToolServer",
        {"name": "crm", "environment": environment},
        {
            "url": url,
            "credential": CRM_CREDENTIAL,
            "tools": {
                "read_customer": {"effect": "read", "data": ["personal"], "price": "0.002 USD"},
                "search_orders": {"effect": "read", "data": ["personal"], "price": "0.002 USD"},
                "refund_order": {"effect": "irreversible", "data": ["financial"], "price": "0.01 USD"},
                "delete_customer": {"effect": "irreversible", "data": ["personal"], "price": "0 USD"},
                "count_tickets": {"effect": "read", "data": ["internal"], "price": "0.05 USD"},
                "export_tickets": {"effect": "read", "data": ["internal"], "price": "0 USD"},
            },
        },
    )


def _agent(name: str, team: str, *, environment: str = "development", **spec: Any) -> dict[str, Any]:
    base = {
        "owner": "dana@example.com",
        "models": [{"provider": "anthropic", "model": "claude-sonnet-5"}],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "acts-with-approval",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False},
    }
    return _document("Agent", {"name": name, "team": team, "environment": environment}, base | spec)


def agents() -> dict[str, dict[str, Any]]:
    """Three agents by name."""
    found = [
        _agent(
            "support-copilot",
            "customer-support",
            purpose="Answer customers' tickets from CRM data",
            tools=[
                {
                    "server": "crm",
                    "allow": ["read_customer", "search_orders"],
                    "when": {"userRole": "customer-support", "sameAs": {"input.customer_id": "task.customer_id"}},
                }
            ],
            hours={"window": "08:00-18:00", "days": _WEEKDAYS, "zone": "Europe/Berlin"},
            data=["personal"],
            limits={"calls": {"perMinute": 600}},
        ),
        _agent(
            "refund-desk",
            "finance",
            purpose="Prepare refunds for a person to approve",
            tools=[{"server": "crm", "allow": ["refund_order"]}],
            data=["financial"],
            limits={"calls": {"perMinute": 600}},
        ),
        _agent(
            "ticket-counter",
            "finance",
            purpose="Report how many tickets are open",
            tools=[{"server": "crm", "allow": ["count_tickets", "export_tickets"]}],
            data=["internal"],
            limits={"calls": {"perMinute": 6}, "cost": {"perDay": "0.20 USD"}},
        ),
    ]
    return {document["metadata"]["name"]: document for document in found}


def issuers(directory: Directory, desk: TicketDesk, desk_url: str) -> list[dict[str, Any]]:
    """Who vouches for users and tasks."""
    return [
        _document(
            "Issuer",
            {"name": "directory"},
            {"use": "user", "issuer": directory.url, "jwks": directory.jwks, "rolesClaim": "roles"},
        ),
        _document(
            "Issuer",
            {"name": "tickets"},
            {
                "use": "task",
                "issuer": desk.url,
                "jwks": desk.jwks,
                "claims": {"customer_id": "string"},
                "statusUrl": f"{desk_url}/status/{{task}}",
            },
        ),
    ]


def documents(directory: Directory, desk: TicketDesk, desk_url: str, crm_url: str) -> list[dict[str, Any]]:
    """Everything that is registered, in one file's order."""
    return [
        _document("Person", None, {"email": "dana@example.com"}),
        _document("Person", None, {"email": "lee@example.com"}),
        _document("Team", {"name": "customer-support"}, {"zones": ["Europe/Berlin"]}),
        _document("Team", {"name": "finance"}, {"zones": ["UTC"]}),
        *issuers(directory, desk, desk_url),
        tool_server(crm_url),
        *agents().values(),
    ]


def staff() -> list[dict[str, Any]]:
    """The people of the second chapter."""
    return [_document("Person", None, {"email": f"{name}@example.com"}) for name in STAFF]


def group() -> dict[str, Any]:
    """A group its members may be given roles through."""
    return _document("Group", {"name": GROUP}, {"members": ["dana@example.com", "lee@example.com"]})


def bot() -> dict[str, Any]:
    """A service account that the agents' owner answers for."""
    return _document("Person", None, {"email": "robot@example.com", "controlledBy": ["dana@example.com"]})


def agreement() -> dict[str, Any]:
    """The supplier of the model may process customers' data."""
    return _document(
        "Agreement",
        {"name": "dpa-2026-14"},
        {"provider": "anthropic", "covers": ["personal", "financial"], "document": "sha256:" + "1" * 64},
    )


def assessment(accepter: str) -> dict[str, Any]:
    """What the refund clerk may do wrong, and who accepts what is left."""
    return {
        "risks": [
            {
                "risk": "A refund goes to somebody who bought nothing",
                "likelihood": 3,
                "impact": 3,
                "mitigations": [{"measure": "A business owner approves each refund, seeing the order and the amount"}],
                "residual": "low",
            },
            {
                "risk": "A customer's data is shown to somebody it does not concern",
                "likelihood": 2,
                "impact": 4,
                "mitigations": [{"measure": "Only employees of the refund desk can put text in front of it"}],
                "residual": "medium",
            },
        ],
        "residual": "medium",
        "acceptedBy": accepter,
    }


def live_server(url: str) -> dict[str, Any]:
    """The CRM as production sees it: the tools its three agents need."""
    return _document(
        "ToolServer",
        {"name": "crm-live", "environment": "production"},
        {
            "url": url,
            "credential": CRM_CREDENTIAL,
            "tools": {
                "read_customer": {"effect": "read", "data": ["personal"], "price": "0.002 USD"},
                "refund_order": {"effect": "irreversible", "data": ["financial"], "price": "0.01 USD"},
                "delete_customer": {"effect": "irreversible", "data": ["personal"], "price": "0 USD"},
                "count_tickets": {"effect": "read", "data": ["internal"], "price": "0.001 USD"},
                "label_ticket": {"effect": "write", "scope": "record", "data": ["internal"], "price": "0 USD"},
            },
        },
    )


def live_agents() -> dict[str, dict[str, Any]]:
    """One agent of each tier, by name."""
    found = [
        _agent(
            "ticket-digest",
            "finance",
            environment="production",
            purpose="Tell the desk each morning how many tickets are open",
            backupOwner="lee@example.com",
            tools=[{"server": "crm-live", "allow": ["count_tickets"]}],
            data=["internal"],
            autonomy="suggests",
            reach="team",
        ),
        _agent(
            "ticket-sorter",
            "finance",
            environment="production",
            purpose="Label tickets so that the right desk finds them",
            tools=[{"server": "crm-live", "allow": ["label_ticket"]}],
            data=["internal"],
            autonomy="acts-with-approval",
            reach="team",
        ),
        _agent(
            "refund-clerk",
            "finance",
            environment="production",
            purpose="Prepare refunds for a person to approve",
            models=[{"provider": "anthropic", "model": "claude-sonnet-5", "agreement": "dpa-2026-14"}],
            tools=[{"server": "crm-live", "allow": ["read_customer", "refund_order"]}],
            data=["personal", "financial"],
            stores=[{"kind": "memory", "adapter": "qdrant", "namespace": "refund-clerk"}],
        ),
    ]
    return {document["metadata"]["name"]: document for document in found}


def policies() -> dict[str, str]:
    """The hand-written layers of the sample fleet and their test cases, by path."""
    root = resources.files("accredit.demo").joinpath("policies")
    paths = ("org/guardrails.cedar", "team/customer-support/ceilings.cedar", "tests/guardrails.yaml")
    return {path: root.joinpath(path).read_text() for path in paths}


def as_file(found: list[dict[str, Any]]) -> str:
    """Documents as one JSON text that `apply` takes."""
    return json.dumps(found)
