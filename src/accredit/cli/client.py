"""The command line as a client of the control-plane API: errors become texts and exit codes (DESIGN §8)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from accredit.cli.profile import Profile
from accredit.kernel.tls import machine_trust

__all__ = ["ApiClient", "ApiFault"]

_EXITS = {400: 1, 401: 5, 403: 5, 404: 6, 408: 7, 504: 7}


@dataclass
class ApiFault(Exception):  # noqa: N818 - what the server answered, not a failure of this program
    """The server refused or could not be reached."""

    code: str
    message: str
    hint: str
    exit_code: int
    problem: Mapping[str, Any]


class ApiClient:
    """Speaks to one server with one credential."""

    def __init__(self, profile: Profile, *, timeout_s: float = 30) -> None:
        import httpx2  # noqa: PLC0415 - help, version and what works offline do not pay for it

        self._profile = profile
        headers = {"accept": "application/json"}
        if profile.token:
            headers["authorization"] = f"Bearer {profile.token}"
        try:
            self._http = httpx2.Client(
                base_url=profile.url, headers=headers, timeout=timeout_s, trust_env=False, verify=machine_trust()
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise ApiFault("setting_invalid", "the server's URL or the token is malformed",
                           "see ACCREDIT_URL and ACCREDIT_TOKEN", 1, {}) from error  # fmt: skip
        self._failures = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, UnicodeError)
        self._timeouts = httpx2.TimeoutException

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int | None) -> Any:
        return self._call("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._call("POST", path, content=json.dumps(body or {}), headers={"content-type": "application/json"})

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, content=json.dumps(body), headers={"content-type": "application/json"})

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    @property
    def url(self) -> str:
        """The server this speaks to."""
        return self._profile.url

    def text(self, path: str) -> str:
        """A document that is not JSON, such as a checkpoint; empty if there is none yet."""
        try:
            answer = self._http.get(path)
        except self._failures:
            return ""
        return answer.text if answer.status_code == 200 else ""

    def _call(self, method: str, path: str, **given: Any) -> Any:
        try:
            answer = self._http.request(method, path, **given)
        except self._timeouts as error:
            raise ApiFault("timeout", f"`{self._profile.url}` did not answer in time", "try again", 7, {}) from error
        except self._failures as error:
            raise ApiFault(
                "unreachable",
                f"no accredit answers at `{self._profile.url}`",
                "start one with `accredit up`, or set ACCREDIT_URL",
                1,
                {},
            ) from error
        try:
            body = answer.json() if answer.content else None
        except ValueError:
            body = None
        if answer.status_code < 400:
            return body
        problem = body if isinstance(body, dict) else {}
        if problem.get("code") == "unauthenticated" and not self._profile.token:
            raise ApiFault(
                "unauthenticated", "you are not signed in", f"{problem.get('hint') or 'run `accredit login LINK`'}",
                5, problem,
            )  # fmt: skip
        raise ApiFault(
            str(problem.get("code", f"http_{answer.status_code}")),
            str(problem.get("detail") or problem.get("title") or f"the server answered {answer.status_code}"),
            str(problem.get("hint", "")),
            _exit_code(answer.status_code, problem),
            problem,
        )


def _exit_code(status: int, problem: Mapping[str, Any]) -> int:
    given = problem.get("exit_code")
    return given if isinstance(given, int) and 0 < given < 9 else _EXITS.get(status, 1)
