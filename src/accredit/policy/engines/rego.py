"""Rego through regorus: the one place that touches it. It may only refuse what Cedar would let through.

A module says `package accredit.NAME` and a set `deny` of messages; a call is refused if any of them is not empty. What
is undefined, fails or is no set of texts refuses as well: a second engine that cannot judge has not agreed.

Why so careful: an engine belongs to the thread that made it and panics in any other, and a panic is a BaseException. It
cannot be stopped once it evaluates, and ends the process where it exhausts the stack. So a text is bounded before it is
parsed (`rego_bounds`), and of what it says only what is listed passes (`rego_allowed`): nothing that could make two
evaluations of one call differ. The time of a call is `input.context.now`. An exception keeps the frames that it came
through, and may be dropped by any thread: no frame that can raise holds an engine by a name of its own (`_Held`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, Self
from weakref import ref

import orjson
import regorus

from accredit.policy.engines.rego_allowed import allowed, dependencies, settled
from accredit.policy.engines.rego_bounds import bounded, refused
from accredit.policy.engines.rego_cost import affordable
from accredit.policy.ports import VetoAnswer

__all__ = ["RegoEngine"]

_PACKAGE: Final = re.compile(r"data\.accredit\.[a-z][a-z0-9_]{0,62}")
_MESSAGE: Final = 200


class _Compiled:
    """The modules of one release."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = dict(modules)
        self.rules: dict[str, str] = {}


class _Held:
    """An engine while it is used: let go of where it was taken up, whatever frames are still remembered."""

    __slots__ = ("engine",)

    def __init__(self, engine: Any = None) -> None:
        self.engine = regorus.Engine() if engine is None else engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine = None


class _Here(threading.local):
    """This thread's engines. One is dropped by the thread that made it, and no other may."""

    def __init__(self) -> None:
        self.engines: dict[int, tuple[ref[_Compiled], Any]] = {}


_HERE: Final = _Here()


class RegoEngine:
    """Rego as regorus evaluates it. Used from any thread."""

    def __init__(self) -> None:
        self._version = f"regorus {version('gordon-to-regorus')}"

    @property
    def version(self) -> str:
        """Name and version, part of the digest of a release that has such modules."""
        return self._version

    def check(self, path: str, text: str) -> None:
        """Read one module.

        Raises:
            InvalidInputError: it does not parse, has another form, or could answer one call in two ways.
        """
        with _Held() as held:
            packages = _read(held, path, text)
            if len(packages) != 1 or not _PACKAGE.fullmatch(packages[0]):
                raise refused("is in no package of its own", "begin with `package accredit.NAME`")
            (module,) = _modules(held)
            if not allowed(module).refusing:
                raise refused("has no `deny`, so it could never refuse", "write `deny contains message if { … }`")
            affordable(module)
            held.engine.set_input_json("{}")
            found = _evaluated(held, f"{packages[0]}.deny")
            if found.fault:
                raise refused(f"does not evaluate: {found.fault}", "let `deny` be a set of texts")

    def compile(self, modules: Mapping[str, str]) -> Any:
        """A handle of modules by their ids.

        Raises:
            InvalidInputError: one does not parse.
        """
        made = _Compiled(modules)
        with self._engine(made):
            return made

    def ask(self, handle: Any, document: str) -> VetoAnswer:
        """What the modules say of one call, given as JSON. Never raises to say no."""
        try:
            with self._engine(handle) as held:
                held.engine.set_input_json(document)
                refusing, faults = [], []
                for name, rule in handle.rules.items():
                    said = _evaluated(held, rule)
                    if said.fault:
                        faults.append(f"{name}: {said.fault}")
                    if said.fault or said.messages:
                        refusing.append(name)
                return VetoAnswer(tuple(sorted(refusing)), fault="; ".join(sorted(faults))[:_MESSAGE])
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of the engine is no Exception, and refuses like any failure
            return VetoAnswer(tuple(sorted(handle.modules)), fault=type(error).__name__)

    def _engine(self, handle: _Compiled) -> _Held:
        engines = _HERE.engines
        known = engines.get(id(handle))
        if known is None or known[0]() is not handle:
            for key in [key for key, (made_of, _) in engines.items() if made_of() is None]:
                del engines[key]
            with _Held() as held:
                packages = _together(held, handle.modules)
                handle.rules = {name: f"{package}.deny" for name, package in packages.items()}
                engines[id(handle)] = (ref(handle), held.engine)
        return _Held(engines[id(handle)][1])


def _read(held: _Held, path: str, text: str) -> list[str]:
    """Add a module; the packages there are then."""
    bounded(text)
    try:
        held.engine.add_policy(path, text)
        return list(held.engine.get_packages())
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise refused(f"does not parse: {_first_lines(error)}", "correct the text where the parser points") from error


def _together(held: _Held, modules: Mapping[str, str]) -> dict[str, str]:
    """Add modules by their ids; the package of each."""
    packages = {}
    for name, text in sorted(modules.items()):
        with _Held() as alone:
            packages[name] = _read(alone, name, text)[0]
        held.engine.add_policy(name, text)
    settled(map(dependencies, _modules(held)))
    return packages


def _modules(held: _Held) -> list[Any]:
    """Text and syntax tree of each module."""
    try:
        found: list[Any] = orjson.loads(held.engine.get_ast_as_json())
    except orjson.JSONDecodeError as error:
        raise refused("is nested too deeply", "give parts names of their own") from error
    return found


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).partition("Stack backtrace")[0].split())[:_MESSAGE]


class _Said:
    """What one rule came to."""

    __slots__ = ("fault", "messages")

    def __init__(self, messages: tuple[str, ...] = (), fault: str = "") -> None:
        self.messages = messages
        self.fault = fault


def _evaluated(held: _Held, rule: str) -> _Said:
    try:
        value = orjson.loads(held.engine.eval_rule_as_json(rule))
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - as in `ask`
        return _Said(fault=type(error).__name__)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return _Said(fault="`deny` is undefined, or no set of texts")
    return _Said(tuple(value))
