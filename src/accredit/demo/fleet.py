"""The sample fleet as manifests: two teams, two people, their issuers, one CRM and three agents."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from accredit.demo.issuers import Directory, TicketDesk

__all__ = ["CRM_CREDENTIAL", "agents", "as_file", "documents", "policies", "tool_server"]

CRM_CREDENTIAL = "crm-key"
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


def documents(directory: Directory, desk: TicketDesk, desk_url: str, crm_url: str) -> list[dict[str, Any]]:
    """Everything that is registered, in one file's order."""
    return [
        _document("Person", None, {"email": "dana@example.com"}),
        _document("Person", None, {"email": "lee@example.com"}),
        _document("Team", {"name": "customer-support"}, {"zones": ["Europe/Berlin"]}),
        _document("Team", {"name": "finance"}, {"zones": ["UTC"]}),
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
        tool_server(crm_url),
        *agents().values(),
    ]


def policies() -> dict[str, str]:
    """The hand-written layers of the sample fleet, by path."""
    root = resources.files("accredit.demo").joinpath("policies")
    paths = ("org/guardrails.cedar", "team/customer-support/ceilings.cedar")
    return {path: root.joinpath(path).read_text() for path in paths}


def as_file(found: list[dict[str, Any]]) -> str:
    """Documents as one JSON text that `apply` takes."""
    return json.dumps(found)
