"""Baselines: what agents were approved to do, how it is learned what they are like, and who accepts it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Out, Page, act, client, days_of, listed, segment, shown
from accredit.cli.output import Parts
from accredit.monitoring.behaviour import BaselinePart, LearningSource
from accredit.monitoring.drift.describing import sparkline

__all__ = ["app"]

app = App()
baseline = App(name="baseline", help="What agents were approved to do, and what they are compared with.")
app.command(baseline)

_BEHAVIOUR: Final[Parts] = {
    "detectors": ("detector", "sessions", "stat", "threshold", "last", "alarmed", "view", "since", "stopped"),
}
_DESCRIBED: Final[Parts] = {
    "tools": ("tool", "share"),
    "outcomes": ("outcome", "share"),
    "spreads": ("number", "measured", "least", "lower", "median", "upper", "most"),
    "extremes": ("session", "calls", "cost"),
}
_DIFFERENCE: Final[Parts] = {"words": ("difference",), "spreads": ("number", "before", "after")}


def _path(name: str, about: str) -> str:
    return f"/api/v1/agents/{segment(name)}{about}"


@baseline.command(name="list")
def _list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List baselines: of which agents behaviour is compared, and with what."""
    listed(
        "/api/v1/baselines", output, "name", "state", "sessions", "accepted", "accepted_by", "proposed", "learning",
        page=page,
    )  # fmt: skip


@baseline.command(name="show")
def _show(agent: str, *, behaviour: bool = False, of: BaselinePart | None = None, output: Out = TABLE) -> None:
    """Show what an agent was approved to do, and what its instances say they are.

    Args:
        agent: Which one.
        behaviour: What its sessions are compared with instead, and how detectors stand.
        of: What is in the sessions of its `accepted`, `proposal` or `previous` baseline instead, or in `recent` ones.
    """
    with client() as api:
        if of is not None:
            found = api.get(_path(agent, "/behaviour/sessions"), of=of)
            shown(api, _described(found) if output is TABLE else found, output, parts=_DESCRIBED)
        elif behaviour:
            found = api.get(_path(agent, "/behaviour"))
            shown(api, _standing(found) if output is TABLE else found, output, parts=_BEHAVIOUR)
        else:
            shown(api, api.get(_path(agent, "/baseline")), output)


@baseline.command(name="diff")
def _diff(
    agent: str,
    *,
    before: BaselinePart = BaselinePart.ACCEPTED,
    after: BaselinePart = BaselinePart.RECENT,
    output: Out = TABLE,
) -> None:
    """Show in words how an agent's sessions differ from others of it.

    Args:
        agent: Which one.
        before: The `accepted`, `proposal` or `previous` ones, or `recent` ones.
        after: The same.
    """
    with client() as api:
        found = api.get(_path(agent, "/behaviour/diff"), before=before, after=after)
        shown(api, _difference(found) if output is TABLE else found, output, parts=_DIFFERENCE)


@baseline.command(name="learn")
def _learn(
    agent: str,
    *,
    source: Annotated[LearningSource, Parameter(name="--from")] = LearningSource.TRIAL,
    since: str | None = None,
    sessions: int | None = None,
    output: Out = TABLE,
) -> int:
    """Have it learned what an agent does, from now on or from what is on record.

    Args:
        agent: Which one.
        source: What it does from now on, sessions on record, or what was accepted for the version before.
        since: Of recorded sessions: only those of so many days, as `30d`.
        sessions: How many.
    """
    body: dict[str, Any] = {"source": source.value}
    if since is not None:
        body["days"] = days_of(since)
    if sessions is not None:
        body["sessions"] = sessions
    return act(_path(agent, "/baseline/learn"), output, body, parts=_BEHAVIOUR)


@baseline.command(name="accept")
def _accept(agent: str, digest: str, *, output: Out = TABLE) -> int:
    """Accept what is proposed as what an agent does.

    Args:
        agent: Which one.
        digest: Of the proposal, by `baseline show --behaviour`; `baseline show --of proposal` says what is in it.
    """
    return act(_path(agent, "/baseline/accept"), output, {"digest": digest}, parts=_BEHAVIOUR)


@baseline.command(name="reset")
def _reset(agent: str, *, reason: str, output: Out = TABLE) -> int:
    """Drop what is proposed or collected and learn anew; what was accepted is compared with until another is.

    Args:
        agent: Which one.
        reason: Why; it is on record.
    """
    return act(_path(agent, "/baseline/reset"), output, {"reason": reason}, parts=_BEHAVIOUR)


def _standing(found: dict[str, Any]) -> dict[str, Any]:
    """Detectors in a line each, the statistic of the last sessions as bars up to the threshold."""
    rows = [
        {
            **one,
            "stat": one["stats"][-1] if one["stats"] else None,
            "last": sparkline(one["stats"], most=one["threshold"] or None),
            "view": one["views"][0]["view"] if one["views"] else None,
        }
        for one in found["detectors"]
    ]
    return {**found, "detectors": rows}


def _described(found: dict[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "hours": f"{sparkline(found['hours'])} (0 to 23 h UTC)",
        "outcomes": [{"outcome": name, "share": share} for name, share in found["outcomes"].items()],
        "spreads": [{"number": name, **spread} for name, spread in found["spreads"].items()],
        "tools": [{"tool": name, "share": share} for name, share in found["tools"].items()],
    }


def _difference(found: dict[str, Any]) -> dict[str, Any]:
    sides = {name: found[name] for name in ("before", "after")}
    numbers = sorted({name for side in sides.values() for name in side["spreads"]})
    return {
        "sessions": ", ".join(f"{side['sessions']} {name}" for name, side in sides.items()),
        "words": [{"difference": one} for one in found["words"]],
        "spreads": [
            {"number": number, **{name: _median(side["spreads"].get(number)) for name, side in sides.items()}}
            for number in numbers
        ],
        "hours": ", ".join(f"{sparkline(side['hours'])} {name}" for name, side in sides.items()) + " (0 to 23 h UTC)",
    }


def _median(spread: dict[str, Any] | None) -> Any:
    return None if spread is None else spread["median"]
