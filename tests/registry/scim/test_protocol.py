"""SCIM as it is read: laws of PATCH, filters against a naive reading, and bytes that mean nothing."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.registry.scim.attributes import ENTERPRISE, GROUP, USER, read_resource, settled
from accredit.registry.scim.errors import ScimError
from accredit.registry.scim.filters import holds, read_filter, read_target
from accredit.registry.scim.patching import PATCH_SCHEMA, patched

_IDS: Final = [f"dus_{at}" for at in range(6)]
_WORDS: Final = st.sampled_from(["a", "b", "Ab", "x y", "ü", 'q"u', "back\\slash", "0"])
_TYPES: Final = st.sampled_from(["work", "home", "Other"])


def _patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH_SCHEMA], "Operations": list(operations)}


def _do(resource: dict[str, Any], *operations: dict[str, Any], of: Any = GROUP) -> dict[str, Any]:
    return patched(resource, _patch(*operations), of, id_="own")


def _ids(group: dict[str, Any]) -> set[str]:
    return {one["value"] for one in group.get("members", ())}


_groups: Final = st.sets(st.sampled_from(_IDS)).map(
    lambda ids: settled({"displayName": "g", "members": [{"value": one} for one in sorted(ids)]}, GROUP)
)
_emails: Final = st.lists(
    st.fixed_dictionaries({"value": _WORDS, "type": _TYPES}),
    max_size=3,
    unique_by=lambda one: (one["value"], one["type"]),
)
_users: Final = st.builds(
    lambda name, title, active, emails: settled(
        {"userName": name, "title": title, "active": active, "emails": emails}, USER
    ),
    _WORDS,
    st.one_of(st.none(), _WORDS),
    st.booleans(),
    _emails,
)
_member_operations: Final = st.one_of(
    st.builds(
        lambda op, ids: {"op": op, "path": "members", "value": [{"value": one} for one in ids]},
        st.sampled_from(["add", "Add", "remove", "Remove", "replace", "Replace"]),
        st.lists(st.sampled_from(_IDS), min_size=1, max_size=3),
    ),
    st.builds(lambda one: {"op": "Remove", "path": f'members[value eq "{one}"]'}, st.sampled_from(_IDS)),
    st.builds(lambda ids: {"op": "add", "value": {"members": [{"value": one} for one in ids]}},
              st.lists(st.sampled_from(_IDS), min_size=1, max_size=3)),
    st.just({"op": "remove", "path": "members"}),
)  # fmt: skip


def _naively(ids: set[str], operation: dict[str, Any]) -> set[str]:
    """What an operation on members means, written down apart."""
    path, kind = operation.get("path"), operation["op"].lower()
    value: Any = operation.get("value")
    if path is None:
        return ids | {one["value"] for one in value["members"]}
    if "[" in path:
        return ids - {path.split('"')[1]}
    named = {one["value"] for one in value} if value else None
    if kind == "remove":
        return set() if named is None else ids - named
    assert named is not None
    return ids | named if kind == "add" else named


@pytest.mark.requirement("people:scim:patch")
@given(_groups, st.lists(_member_operations, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_members_after_any_operations_are_those_of_the_naive_reading(
    group: dict[str, Any], operations: list[dict[str, Any]]
) -> None:
    before, expected = str(group), _ids(group)
    for one in operations:
        expected = _naively(expected, one)
    after = _do(group, *operations)
    assert _ids(after) == expected
    assert after["displayName"] == "g"
    one_by_one = group
    for one in operations:
        one_by_one = _do(one_by_one, one)
    assert one_by_one == after, "several operations are the same as one after the other"
    assert str(group) == before, "what was there is not touched"


@pytest.mark.requirement("people:scim:patch")
@given(_users, st.one_of(_member_operations, st.builds(
    lambda op, path, value: {"op": op, "path": path, "value": value},
    st.sampled_from(["add", "replace", "remove"]),
    st.sampled_from(["title", "active", "name.givenName", "emails", 'emails[type eq "work"].value', "userName",
                     f"{ENTERPRISE}:department", "displayName", "phoneNumbers"]),
    st.one_of(_WORDS, st.booleans(), st.sampled_from(["True", "False"]), st.none(), st.just({"value": "a"})),
)))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_an_operation_that_is_sent_again_changes_nothing_and_one_that_cannot_be_done_leaves_all_as_it_was(
    user: dict[str, Any], operation: dict[str, Any]
) -> None:
    before = str(user)
    once = None
    with contextlib.suppress(ScimError):
        once = _do(user, operation, of=USER)
    if once is None:
        with pytest.raises(ScimError):
            _do(user, {"op": "add", "path": "title", "value": "new"}, operation, of=USER)
    else:
        assert _do(once, operation, of=USER) == once
        assert settled(once, USER) == once
        assert once["userName"]
    assert str(user) == before


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_terms: Final = st.one_of(
    st.builds(lambda value: (f"userName eq {_literal(value)}", lambda u: u["userName"].casefold() == value.casefold()),
              _WORDS),
    st.builds(
        lambda value: (f"TITLE co {_literal(value)}", lambda u: value.casefold() in u.get("title", "\0").casefold()),
        _WORDS,
    ),
    st.just(("title pr", lambda u: "title" in u)),
    st.just(("active eq true", lambda u: u["active"])),
    st.just(('active ne "True"', lambda u: not u["active"])),
    st.builds(
        lambda value, kind: (
            f"emails[value eq {_literal(value)} and type eq {_literal(kind)}]",
            lambda u: any(one["value"].casefold() == value.casefold() and one["type"].casefold() == kind.casefold()
                          for one in u.get("emails", ())),
        ),
        _WORDS, _TYPES,
    ),
)  # fmt: skip
_filters: Final = st.recursive(
    _terms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: (f"({a[0]}) and ({b[0]})", lambda u: a[1](u) and b[1](u)), inner, inner),
        st.builds(lambda a, b: (f"({a[0]} OR {b[0]})", lambda u: a[1](u) or b[1](u)), _terms, _terms),
        st.builds(lambda a: (f"not ({a[0]})", lambda u: not a[1](u)), inner),
    ),
    max_leaves=6,
)


@pytest.mark.requirement("people:scim:filter")
@given(_filters, _users)
@settings(max_examples=300, deadline=None)
def test_a_filter_means_what_its_parts_mean(written: Any, user: dict[str, Any]) -> None:
    text, means = written
    assert holds(read_filter(text, USER), user) is bool(means(user))


@pytest.mark.requirement("people:scim:filter")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('userName eq "bjensen" or title pr and active eq false', True),
        ('(userName eq "bjensen" or title pr) and active eq false', False),
        ('externalId eq "Ext"', True),
        ('externalId eq "ext"', False),
        ('id eq "own"', True),
        ('name.familyName sw "JEN"', True),
        ('emails.value ew "@example.com"', True),
        ('emails co "bj@"', True),
        (f'{ENTERPRISE}:department ge "s"', True),
        ('urn:ietf:params:scim:schemas:core:2.0:User:userName EQ "BJENSEN"', True),
        ('meta.lastModified gt "2026-01-01T00:00:00Z"', True),
        ('title ne "x"', True),
        ("userName eq null", False),
    ],
)  # fmt: skip
def test_filters_of_the_rfc(text: str, expected: object) -> None:
    user = read_resource(
        {
            "schemas": [USER.schema],
            "USERNAME": "bjensen",
            "externalId": "Ext",
            "name": {"familyName": "Jensen"},
            "emails": [{"value": "bj@example.com", "type": "work", "primary": "true"}],
            "active": "True",
            ENTERPRISE: {"department": "Support", "costCenter": "4130"},
            "nothing anybody knows": {"of": ["use"]},
        },
        USER,
    )
    assert "costCenter" not in user[ENTERPRISE]
    shown = {**user, "id": "own", "meta": {"lastModified": "2026-11-23T10:00:00Z"}}
    assert holds(read_filter(text, USER), shown) is expected


@pytest.mark.requirement("people:scim:malformed")
@given(st.text(alphabet=st.sampled_from('userNam()[]. "\\eqandort:1-é\n\x00'), max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_as_a_filter_or_a_path_is_read_or_refused(text: str) -> None:
    for read in (read_filter, read_target):
        for of in (USER, GROUP):
            with contextlib.suppress(ScimError):
                read(text, of)


_json: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["a", "work", "True", "dus_1", "\u202e"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["schemas", "userName", "emails", "value", "type", "members", "active", "name", ENTERPRISE,
                             "op", "path", "Operations", "id", "USERNAME", "manager", "primary"]), inner, max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.requirement("people:scim:malformed")
@given(_json, st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_as_a_resource_or_a_patch_is_taken_whole_or_refused(form: Any, headed: bool) -> None:  # noqa: FBT001 - drawn
    if headed and isinstance(form, dict):
        form = {**form, "schemas": [USER.schema, PATCH_SCHEMA]}
    user = {"userName": "a", "active": True}
    for patching in (False, True):
        made = None
        with contextlib.suppress(ScimError):
            made = patched(user, form, USER, id_="own") if patching else read_resource(form, USER)
        if made is not None:
            assert settled(made, USER) == made
            assert set(made) <= {
                "userName",
                "externalId",
                "active",
                "displayName",
                "title",
                "name",
                "emails",
                ENTERPRISE,
            }
    assert user == {"userName": "a", "active": True}
