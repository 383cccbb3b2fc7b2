"""cel-cpp by its binding, in a process of its own since some values end it: one question a line, one answer a line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

__all__ = ["Oracle"]


class Oracle:
    """Asks the process, and starts another when it died over a question."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._process: subprocess.Popen[str] | None = None

    def ask(self, text: str) -> tuple[str, Any]:
        """(`value`, it), or one of `absent`, `none` (refused, or an error) and `died`."""
        process = self._process
        if process is None or process.poll() is not None:
            command = [sys.executable, "-m", "tests.kernel.cel_oracle"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._process = process
            self._say(process, self._variables)
        self._say(process, text)
        assert process.stdout is not None
        answer = process.stdout.readline()
        if not answer:
            self.close()
            return "died", None
        kind, value = json.loads(answer)
        return kind, value

    @staticmethod
    def _say(process: subprocess.Popen[str], value: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(value) + "\n")
        process.stdin.flush()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _answered(env: Any, text: str, variables: dict[str, Any]) -> tuple[str, Any]:
    def asked(expression: str) -> Any:
        try:
            found = env.compile(expression, disable_check=True).eval(data=variables)
        except RuntimeError:
            return None
        return None if found.type().name() == "ERROR" else found

    optional = asked(f"({text}).hasValue()")
    if optional is not None:
        if not optional.value():
            return "absent", None
        text = f"({text}).value()"
    found = asked(text)
    if found is None:
        return "none", None
    value = found.plain_value()
    return ("value", value) if _is_json(value) else ("none", None)


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _main() -> None:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional

    variables = json.loads(sys.stdin.readline())
    env = cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN), extensions=[ext_optional.ExtOptional()])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answered(env, json.loads(line), variables)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
