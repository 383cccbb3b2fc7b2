"""What a service provider says of itself (RFC 7643 §5 to §7), and the forms of its answers (RFC 7644 §3). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from accredit.registry.scim.attributes import ENTERPRISE, GROUP, USER, Attribute, ResourceType
from accredit.registry.scim.errors import ScimType

__all__ = [
    "MOST_LISTED",
    "chosen",
    "error_body",
    "list_body",
    "resource_types",
    "schema_documents",
    "service_provider_config",
    "type_named",
]

MOST_LISTED: Final = 200
"""Resources in one answer."""
_MESSAGES: Final = "urn:ietf:params:scim:api:messages:2.0:"
_ALWAYS: Final = frozenset({"id", "meta", "schemas"})


def error_body(status: int, scim_type: ScimType, detail: str, code: str) -> dict[str, Any]:
    """A refusal (RFC 7644 §3.12); `code` is ours, stable and listed in docs/codes.md."""
    return {
        "schemas": [f"{_MESSAGES}Error"],
        "status": str(status),
        **({"scimType": scim_type.value} if scim_type else {}),
        "detail": detail,
        "code": code,
    }


def list_body(resources: Sequence[Mapping[str, Any]], *, total: int, start: int) -> dict[str, Any]:
    """A page (RFC 7644 §3.4.2)."""
    return {
        "schemas": [f"{_MESSAGES}ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }


def chosen(resource: Mapping[str, Any], attributes: Iterable[str], excluded: Iterable[str]) -> dict[str, Any]:
    """A resource with the attributes that were asked for, or without some (RFC 7644 §3.9); whole ones alone."""
    wanted, unwanted = {_first(one) for one in attributes}, {_first(one) for one in excluded}
    return {
        name: value
        for name, value in resource.items()
        if name in _ALWAYS or (name.casefold() in wanted if wanted else name.casefold() not in unwanted)
    }


def _first(name: str) -> str:
    """The attribute that a path begins with; of an extension its URN."""
    folded = name.strip().casefold()
    for known in (ENTERPRISE, USER.schema, GROUP.schema):
        if folded == known.casefold():
            return folded
        if folded.startswith(f"{known.casefold()}:"):
            return known.casefold() if known == ENTERPRISE else folded.rpartition(":")[2].partition(".")[0]
    return folded.partition(".")[0]


def service_provider_config(base: str) -> dict[str, Any]:
    """What this server can do (RFC 7643 §5)."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MOST_LISTED},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "A key of the directory",
                "description": "Made by an administrator with `accredit directory key`, and shown once",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[dict[str, Any]]:
    """The kinds of resources (RFC 7643 §6)."""
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": one.name,
            "name": one.name,
            "endpoint": f"/{one.name}s",
            "schema": one.schema,
            "schemaExtensions": [{"schema": urn, "required": False} for urn in one.extensions],
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{one.name}"},
        }
        for one in (USER, GROUP)
    ]


def schema_documents(base: str) -> list[dict[str, Any]]:
    """What is kept of each kind (RFC 7643 §7)."""
    extensions = [(urn, "EnterpriseUser", found) for urn, found in USER.extensions.items()]
    every = [*((one.schema, one.name, one.attributes) for one in (USER, GROUP)), *extensions]
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": urn,
            "name": name,
            "attributes": [_described(one) for one in attributes],
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{urn}"},
        }
        for urn, name, attributes in every
    ]


def _described(attribute: Attribute) -> dict[str, Any]:
    return {
        "name": attribute.name,
        "type": attribute.kind,
        "multiValued": attribute.many,
        "description": attribute.about,
        "required": attribute.required,
        "caseExact": attribute.exact,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "server" if attribute.unique else "none",
        **({"subAttributes": [_described(one) for one in attribute.subs]} if attribute.subs else {}),
    }


def type_named(name: str) -> ResourceType:
    """The kind of resources at that endpoint."""
    return USER if name == "Users" else GROUP
