"""The verbs of DESIGN §8 that this release has, put together."""

from __future__ import annotations

from cyclopts import App

from accredit import __version__
from accredit.cli import (
    agents,
    approvals,
    baselines,
    breaking,
    chats,
    costs,
    credentials,
    directories,
    discovering,
    gitops,
    holds,
    incidents,
    interchange,
    keeping,
    launching,
    people,
    policies,
    records,
    registered,
    reviews,
    running,
    signing_in,
    stores,
    watching,
)

__all__ = ["app"]

_SUBJECTS = (
    running,
    signing_in,
    registered,
    people,
    agents,
    baselines,
    approvals,
    breaking,
    holds,
    credentials,
    discovering,
    policies,
    watching,
    costs,
    incidents,
    records,
    launching,
    stores,
    interchange,
    gitops,
    keeping,
    directories,
    chats,
    reviews,
)

app = App(name="accredit", help="Lifecycle control for AI agents in production.", version=__version__)
for subject in _SUBJECTS:
    app.command(subject.app, name="*")
