"""Running an installation, and comparing its state with its log."""

from __future__ import annotations

import gc
from pathlib import Path

from cyclopts import App

from accredit.cli.asking import DATA, TABLE, Data, Out, act

__all__ = ["app"]

app = App()


@app.command(name="up")
def _up(
    *,
    data: Path | None = None,
    port: int | None = None,
    demo: bool = False,
) -> int:
    """Start one process: API, gateway and embedded SQLite, on loopback.

    Args:
        data: Data directory; created if absent. With --demo a temporary one unless given.
        port: Port to listen on (default 8700, 0 takes a free one).
        demo: Seed the sample fleet and run sample traffic, a line per decision, until Ctrl-C.
    """
    if demo:
        from accredit.demo.running import run_demo_fleet  # noqa: PLC0415 - the demo needs an extra

        return run_demo_fleet(data, port)
    gc.disable()  # until all is loaded: none of it is garbage
    from accredit.cli.serving import run_up  # noqa: PLC0415 - only this command needs the server

    return run_up(data or DATA, port)


@app.command(name="demo")
def _demo() -> int:
    """Live through a sample fleet against a real MCP server, step by step; exit 0 only if every step held."""
    from accredit.demo.story import run_demo  # noqa: PLC0415 - the demo needs an extra

    return run_demo()


@app.command(name="doctor")
def _doctor(*, data: Data = DATA, repair: bool = False, confirm_clock: bool = False, output: Out = TABLE) -> int:
    """Rebuild the state from the log into a scratch copy and compare; changes nothing without --repair.

    It also says how programs of tool servers would be kept apart here (`programs`).

    Args:
        repair: Write the rebuilt rows; needs the data directory's lock, so the server must be down.
        confirm_clock: Tell a running server that its wall clock is right after a step.
    """
    if confirm_clock:
        return act("/api/v1/clock/confirm", output)
    from accredit.cli.offline import examine  # noqa: PLC0415 - only this command needs the storage

    return examine(data, repair=repair, output=output)
