"""Providers' own exports of use, as keys and what they were used for. Pure.

Read are JSON pages of the usage and cost APIs and CSV files of the consoles and cloud bills, by the names of their
columns (docs/discovery.md lists them). What a bill says of other services is left out. A file whose columns say neither
a key nor a project nor a resource is refused rather than read as no use at all.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.lifecycle.discovery.model import KeyUse, Trace, TraceKind
from accredit.lifecycle.discovery.reading import as_text, json_value
from accredit.lifecycle.discovery.shown import tidy

__all__ = ["MAX_USAGE_BYTES", "usage_traces"]

MAX_USAGE_BYTES: Final = 64 * 2**20
_MAX_ROWS: Final = 500_000
_MAX_KEYS: Final = 10_000
_MOST_NANOS: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class _Form:
    """How one kind of export is recognised, and under which columns it says what."""

    provider: str
    marks: frozenset[str]
    """Columns that only this kind has, of which one must be there."""
    key: tuple[str, ...]
    name: tuple[str, ...]
    project: tuple[str, ...]
    day: tuple[str, ...]
    requests: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()
    cost: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    """Of a bill: the column that says of what, which must match `services`."""
    services: str = ""


_FORMS: Final = (
    _Form(
        "anthropic",
        frozenset({"workspaceid", "uncachedinputtokens", "usageinputtokensnocache", "usagedateutc"}),
        key=("apikeyid", "apikey"), name=("apikeyname", "apikey"), project=("workspaceid", "workspace"),
        day=("startingat", "usagedateutc", "date"),
        input_tokens=(
            "uncachedinputtokens", "cachereadinputtokens", "usageinputtokensnocache", "usageinputtokenscacheread",
        ),
        output_tokens=("outputtokens", "usageoutputtokens"), cost=("costusd",), model=("model", "modelversion"),
    ),
    _Form(
        "openai",
        frozenset({"apikeyid", "amountvalue", "nummodelrequests"}),
        key=("apikeyid",), name=("apikeyname", "name", "apikeyid"), project=("projectname", "projectid"),
        day=("starttime", "starttimeiso", "date"), requests=("nummodelrequests", "nrequests"),
        input_tokens=("inputtokens", "ncontexttokenstotal"), output_tokens=("outputtokens", "ngeneratedtokenstotal"),
        cost=("amountvalue", "costusd", "cost"), model=("model", "lineitem"),
    ),
    _Form(
        "azure-openai",
        frozenset({"metercategory"}),
        key=("resourceid", "instanceid"), name=("resourcename", "resourceid", "instanceid"),
        project=("resourcegroupname", "resourcegroup", "subscriptionname", "subscriptionid"), day=("date", "usagedate"),
        cost=("costinusd", "costinbillingcurrency", "cost", "pretaxcost"), model=("metername",),
        service=("metercategory", "servicename", "metersubcategory", "consumedservice"),
        services=r"cognitive|openai|foundry|machine learning",
    ),
    _Form(
        "bedrock",
        frozenset({"lineitemproductcode"}),
        key=("lineitemiamprincipal", "lineitemresourceid", "lineitemusageaccountid"),
        name=("lineitemiamprincipal", "lineitemresourceid", "lineitemusageaccountid"),
        project=("lineitemusageaccountid",),
        day=("lineitemusagestartdate",), cost=("lineitemunblendedcost",), model=("lineitemusagetype",),
        service=("lineitemproductcode",), services=r"bedrock",
    ),
    _Form(
        "vertex",
        frozenset({"servicedescription"}),
        key=("resourcename", "projectid"), name=("resourcename", "projectid"), project=("projectid",),
        day=("usagestarttime",), cost=("cost",), model=("skudescription",),
        service=("servicedescription",), services=r"vertex|gemini|generative",
    ),
)  # fmt: skip


def usage_traces(path: str, data: bytes) -> tuple[Trace, ...]:
    """The keys (projects, resources) of a provider's export and what each was used for, by provider, key and project.

    Raises:
        InvalidInputError: it is no export that is known, or too large.
    """
    if len(data) > MAX_USAGE_BYTES:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"`{tidy(path)}` is larger than {MAX_USAGE_BYTES} bytes")
    text = as_text(data)
    rows = _json_rows(json_value(text)) if text.lstrip()[:1] in {"{", "["} else _csv_rows(text)
    added: dict[tuple[str, str, str], tuple[str, KeyUse, set[str]]] = {}
    form: _Form | None = None
    for number, row in enumerate(rows):
        if number >= _MAX_ROWS:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"`{tidy(path)}` has more than {_MAX_ROWS} rows")
        form = form or next((one for one in _FORMS if one.marks & row.keys()), None)
        if form is not None and _is_of(form, row):
            _add(added, form, row)
    if form is None:
        raise InvalidInputError(
            Code.BODY_MALFORMED, f"`{tidy(path)}` is no export of use that is known", hint="see docs/discovery.md"
        )
    return tuple(
        Trace(
            f"{form.provider}-usage", TraceKind.USAGE, tidy(path), name, providers=(form.provider,),
            models=tuple(sorted(models))[:20], use=use,
        )
        for _, (name, use, models) in sorted(added.items())
    )  # fmt: skip


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _csv_rows(text: str) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        names = [_bare(one) for one in next(reader, [])]
        for row in reader:
            yield dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise InvalidInputError(Code.BODY_MALFORMED, "not CSV") from error


def _json_rows(value: Any) -> Iterator[Mapping[str, Any]]:
    """Rows of a page: each result with the time of its bucket; a list of rows as it is."""
    pages = value if isinstance(value, list) else [value]
    for page in pages:
        inner = page.get("data") if isinstance(page, Mapping) else None
        for bucket in inner if isinstance(inner, list) else [page]:
            if not isinstance(bucket, Mapping):
                continue
            results = bucket.get("results", bucket.get("result"))
            for one in results if isinstance(results, list) else [bucket]:
                if isinstance(one, Mapping):
                    yield dict(
                        _flat({**{key: bucket[key] for key in bucket if key not in {"results", "result"}}, **one})
                    )


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from ((_bare(f"{key}{inner}"), one) for inner, one in value.items() if not isinstance(one, Mapping))
        else:
            yield _bare(str(key)), value


def _is_of(form: _Form, row: Mapping[str, Any]) -> bool:
    if not form.services:
        return True
    return any(re.search(form.services, str(row.get(name, ""))[:200], re.IGNORECASE) for name in form.service)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((tidy(str(row[name])) for name in names if row.get(name) not in {None, ""}), "")


def _add(added: dict[tuple[str, str, str], tuple[str, KeyUse, set[str]]], form: _Form, row: Mapping[str, Any]) -> None:
    key, project = _first(row, form.key), _first(row, form.project)
    if not key and not project:
        return
    place = (form.provider, key, project)
    if place not in added and len(added) >= _MAX_KEYS:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"use of more than {_MAX_KEYS} keys")
    name, use, models = added.get(place) or (
        _first(row, form.name) or project, KeyUse(form.provider, key, project, 0, 0, 0, 0, "", ""), set[str](),
    )  # fmt: skip
    day = _day(_first(row, form.day))
    models |= {model} if (model := _first(row, form.model)) and len(models) < 100 else set()
    added[place] = (
        name,
        replace(
            use,
            requests=use.requests + _sum(row, form.requests),
            input_tokens=use.input_tokens + _sum(row, form.input_tokens),
            output_tokens=use.output_tokens + _sum(row, form.output_tokens),
            cost_nanos=min(use.cost_nanos + _nanos(_first(row, form.cost)), _MOST_NANOS),
            first=min(filter(None, (use.first, day)), default=""),
            last=max(use.last, day),
        ),
        models,
    )


def _sum(row: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return sum(min(int(_number(str(row.get(name, "")))), 10**12) for name in names)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.strip().replace(",", "")[:40])
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() and 0 <= number < 10**15 else Decimal(0)


def _nanos(text: str) -> int:
    return int(min(_number(text.lstrip("$")) * 10**9, Decimal(_MOST_NANOS)).to_integral_value(rounding="ROUND_CEILING"))


def _day(text: str) -> str:
    """YYYY-MM-DD of a day or moment, however it is written; empty if it is none."""
    if re.fullmatch(r"\d{9,11}", text):
        return datetime.fromtimestamp(int(text), UTC).date().isoformat()
    if found := re.match(r"\d{4}-\d{2}-\d{2}", text):
        return found[0]
    if found := re.match(r"(\d{1,2})/(\d{1,2})/(\d{4})$", text):  # as bills write it: month first
        return f"{found[3]}-{int(found[1]):02}-{int(found[2]):02}"
    return ""
