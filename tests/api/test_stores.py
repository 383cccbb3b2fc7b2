"""Stores of memory and knowledge through the API, with a Qdrant server that a brokered credential opens."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.company import agent
from tests.api.installation import Installation
from tests.stores import fakes
from tests.stores.rows import Row


def _post(http: httpx2.Client, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = http.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _applied(http: httpx2.Client, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    import json

    found = _post(http, "apply", {"files": [{"name": "a.json", "text": json.dumps(documents)}]})
    items: list[dict[str, Any]] = found["items"]
    return items


def _ended(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What goes on in the background, once it is over: a request waits for it only for a while."""
    for _ in range(300):
        found = ask()
        if found["state"] == "ended":
            return found
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.mark.requirement("stores:api")
def test_a_store_is_registered_scanned_purged_and_reviewed_through_the_api(place: Installation, tmp_path: Path) -> None:
    notes = [Row(str(at), f"note {at} of the agent", {"agent_id": "keeper"}) for at in range(30)]
    fakes.fill_qdrant(tmp_path, "keeper", [*notes, Row("x", "write to jane@mail.example.com", {"agent_id": "keeper"})])
    fakes.fill_qdrant(tmp_path, "library", [Row("l", "the handbook of all", {"agent_id": "keeper"})])
    url = fakes.served("qdrant", tmp_path)
    with place.client() as http:
        credential = {"origin": url, "header": "api-key", "value": "secret-key-1"}
        assert http.put("/api/v1/upstream-credentials/shelf-key", json=credential).status_code < 300
        spec = {"adapter": "qdrant", "location": url, "credential": "shelf-key", "ownerField": "agent_id"}
        metadata = {"name": "shelf", "environment": "development"}
        document = {"apiVersion": "accredit/v1", "kind": "Store", "metadata": metadata}
        _applied(http, document | {"spec": spec | {"namespaces": ["keeper"], "shared": False}})
        _applied(
            http,
            document
            | {"metadata": metadata | {"name": "books"}, "spec": spec | {"namespaces": ["library"], "shared": True}},
        )
        keeper = agent("keeper", environment="development", owner="dana@example.com")
        keeper["spec"]["stores"] = [
            {"kind": "memory", "adapter": "qdrant", "store": "shelf", "namespace": "keeper"},
            {"kind": "knowledge", "adapter": "qdrant", "store": "books", "namespace": "library"},
            {"kind": "memory", "adapter": "qdrant"},
        ]
        (applied,) = _applied(http, keeper)
        assert len(applied["flagged"]) == 1
        assert "cannot certify" in applied["flagged"][0]

        assert {one["name"] for one in http.get("/api/v1/stores").json()["items"]} >= {"shelf", "books"}
        (holding,) = http.get("/api/v1/stores/shelf/namespaces").json()["items"]
        assert (holding["namespace"], holding["items"], holding["scanned"]) == ("keeper", 31, None)
        _post(http, "stores/shelf/scan", {"namespace": "keeper"})
        scan = _ended(lambda: http.get("/api/v1/store-scans").json()["items"][0])
        assert (scan["state"], scan["items"], scan["flagged"], scan["findings"]) == ("ended", 31, 1, {"email": 1})
        assert "jane" not in http.get("/api/v1/store-scans").text

        named = {"agent": "development/keeper"}
        plan = _post(http, "store-purges", named | {"store": "shelf", "namespace": "keeper"}, 201)
        assert (plan["state"], plan["delete"], plan["approval"]) == ("planned", 31, None)
        _post(http, f"store-purges/{plan['id']}/run", {})
        done = _ended(lambda: http.get(f"/api/v1/store-purges/{plan['id']}").json())
        assert (done["state"], done["deleted"], done["certified"]) == ("ended", 31, True)
        assert done["outcome"]["methods"] == ["delete", "drop", "snapshot-cleanup"]
        verified = _post(http, f"store-purges/{plan['id']}/verify", {})
        assert (verified["left"], verified["certified"]) == (0, True)

        review = _post(http, "store-reviews", named | {"store": "books", "namespace": "library"}, 201)
        (item,) = http.get(f"/api/v1/store-reviews/{review['id']}/items").json()["items"]
        assert (item["text"], item["mine"], item["verdict"]) == ("the handbook of all", True, None)
        decision = {"item": item["item"], "digest": item["digest"], "verdict": "keep"}
        assert _post(http, f"store-reviews/{review['id']}/decide", decision)["verdict"] == "keep"
        kept = _post(http, "store-purges", named | {"store": "books", "namespace": "library"}, 201)
        assert kept["counts"] == {"kept": 1}


@pytest.mark.requirement("stores:api")
def test_a_store_of_this_machine_is_opened_only_where_the_operator_set_a_place_aside(
    place: Installation, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    with place.client() as http:
        _applied(http, {
            "apiVersion": "accredit/v1", "kind": "Store", "metadata": {"name": "near", "environment": "development"},
            "spec": {"adapter": "files", "location": str(tmp_path), "namespaces": ["notes"], "shared": False},
        })  # fmt: skip
        refused = http.get("/api/v1/stores/near/namespaces")
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unreachable")
        assert "store_directories" in refused.json()["hint"]
