"""The command line. Every command but `up`, `demo`, `audit verify` and `doctor` is a client of the API.

Exit codes: 0 ok, 1 error, 2 usage, 3 changes pending, 4 denied by policy, 5 not authorised, 6 not found, 7 timeout,
8 would break.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run one command and exit."""
    if sys.argv[1:] == ["--version"]:
        from accredit import __version__  # noqa: PLC0415 - asked by scripts, often: nothing else is loaded

        print(__version__)
        return
    # imported here so that importing the package costs nothing
    from accredit.cli.commands import app  # noqa: PLC0415
    from accredit.cli.faults import reported  # noqa: PLC0415

    sys.exit(reported(lambda: app(exit_on_error=False, result_action="return_value")))
