"""What the API says of one agent, arranged for a person to read: the five questions of DESIGN §6, and its tier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["answers", "observed_rows", "tier_explained"]


def answers(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of an agent's dossier is shown at a terminal; each answer with the records of the log it rests on."""
    asked, tiering = found["answers"], found["tiering"] or {"blocks": ()}
    return {
        "name": f"{found['environment']}/{found['name']}",
        "id": found["id"],
        "purpose": found["purpose"],
        "team": found["team"],
        "owner": found["owner"],
        "backup_owner": found["backup_owner"],
        "state": found["state"],
        "tier": found["tier"] or "none",
        "version": found["version"],
        "candidate": found["candidate"],
        "changes": _rows(found["changes"], "facet", "what", "why", "material"),
        "waiting": found["waiting"],
        "unanswered": found["unanswered"],
        "observed": observed_rows(found["observed"], days=30),
        "no_tier_because": _rows(tiering["blocks"], "reason", "remedy"),
        "approved_by": _approved_by(asked["approved_by"]),
        "data": _rows(asked["data"]["rows"], "data_class", "tool", "outcome", "conditions", "record") or "none",
        "tools": _rows(asked["tools"]["rows"], "tool", "effect", "outcome", "conditions", "record") or "none",
        "models": [_model(one) for one in asked["tools"]["models"]] or "none",
        "security_review": _reviewed(asked["security_review"]),
        "decommissioning": _ended(asked["decommissioning"]),
        "limits": found["limits"],
        "credentials": _rows(found["credentials"], "id", "state", "thumbprint", "enrolled"),
        "restrictions": _rows(
            [one for one in found["restrictions"] if one["in_force"]], "kind", "tool", "cause", "until", "id"
        ),
        "incidents": _rows([one for one in found["incidents"] if not one["closed"]], "severity", "opened", "id"),
        "alerts": _rows(found["alerts"], "severity", "kind", "matter", "last", "state", "id"),
    }


def tier_explained(found: Mapping[str, Any]) -> dict[str, Any]:
    """A tier with what would lower it in words, a row for each way; of the candidate likewise."""
    ways = [
        {"tier": lower["tier"], "if": [each["words"] for each in way]}
        for lower in found["lowers"]
        for way in lower["ways"]
    ]
    candidate, observed = found.get("candidate"), found.get("observed")
    return (
        {**found, "lowers": ways}
        | ({"candidate": tier_explained(candidate)} if candidate else {})
        | ({"observed": {**observed, "windows": observed_rows(observed)}} if observed else {})
    )


def observed_rows(observed: Mapping[str, Any] | None, *, days: int | None = None) -> list[dict[str, Any]]:
    """Declared against observed, a row for each factor of which anything was seen in those days; None: in all."""
    return [
        {"days": window["days"], **factor}
        for window in (observed["windows"] if observed else ())
        if days in {None, window["days"]}
        for factor in window["factors"]
        if factor["observed"] is not None
    ]


def _rows(rows: Any, *columns: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in columns} for row in rows]


def _model(one: Mapping[str, Any]) -> dict[str, Any]:
    price = one["price"]
    return {
        "model": one["tool"],
        "outcome": one["outcome"] if one["registered"] else "not registered",
        "data": [each["data_class"] for each in one["data"]],
        "price": f"{price['input']} in, {price['output']} out" if price else "unknown",
        "agreement": one["agreement"],
        "hosted_tools": one["hosted_tools"],
        "last_used": one["last_used"],
        "record": one.get("record"),
    }


def _approved_by(asked: Mapping[str, Any]) -> Any:
    votes = _rows(asked["votes"], "role", "person", "for_person", "verdict", "at", "comment", "credential", "record")
    return {"request": asked["request"], "votes": votes} if votes else "nobody"


def _reviewed(asked: Mapping[str, Any]) -> Any:
    return dict(asked) if asked["at"] else "never"


def _ended(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"retired": asked["retired"] or "no", "record": asked["record"], "steps": asked["steps"]}
