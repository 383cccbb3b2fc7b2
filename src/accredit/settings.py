"""Every setting, its safe default and what refuses to start. An unknown setting is an error, never ignored.

Settings come from `accredit.toml` in the data directory, then from `ACCREDIT_<NAME>` in the environment.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["Settings", "load_settings", "sound_notice_url"]

_PREFIX = "ACCREDIT_"
# read by the command line for its own purposes, never settings of the server
_NOT_SETTINGS = frozenset(
    {"ACCREDIT_URL", "ACCREDIT_TOKEN", "ACCREDIT_PROFILE", "ACCREDIT_DATA"}
    # of agents' programs (docs/sdk.md)
    | {"ACCREDIT_AGENT", "ACCREDIT_AGENT_KEY", "ACCREDIT_IDENTITY", "ACCREDIT_JOIN_TOKEN", "ACCREDIT_MCP_URL"}
    | {"ACCREDIT_TOOL_SERVER", "ACCREDIT_TOOLS", "ACCREDIT_UNCHECKED_TOOLS"}
)


class Settings(BaseModel):
    """One installation's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `public_url` with https."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    """Port to listen on; 0 takes a free one."""
    public_url: str = ""
    """How callers reach this installation; tokens are bound to it. Default: http://<host>:<port>."""
    allowed_hosts: tuple[str, ...] = ()
    """Host header values to accept besides the public URL's and loopback."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 * 2**20)] = 2**20
    """Largest request body of an agent."""
    max_result_bytes: Annotated[int, Field(ge=1024, le=256 * 2**20)] = 16 * 2**20
    """Largest answer of a tool server."""
    session_idle_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    """A session ends after this long without a call."""
    hold_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 15
    """A hold that nobody answered expires after this long."""
    join_token_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    """A join token that nobody used expires after this long."""
    attempts_per_minute: Annotated[int, Field(ge=10, le=1_000_000)] = 6000
    """Attempts one credential may make, allowed or not."""
    attempts_per_source: Annotated[int, Field(ge=10, le=1_000_000)] = 600
    """Attempts one address may make a minute to sign in, to enrol and to ask for tokens, each counted apart. Behind a
    proxy everybody has the proxy's address: set it for the whole fleet."""
    disk_reserve_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 256
    """Below this much free space calls are refused; control records still pass."""
    retention_file: str = ""
    """A file with the operator's own times of keeping records and the frameworks in force. See docs/retention.md."""
    backup_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """How long copies of the data directory are kept elsewhere: an erasure names when the last of them is gone."""
    checkpoint_seconds: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    """How often a signed checkpoint is published while records arrive."""

    development_agent_days: Annotated[int, Field(ge=0, le=3_650)] = 30
    """An agent in development that names no last day runs this long from its registration on; 0: without end."""
    owner_read_only_days: Annotated[int, Field(ge=1, le=7)] = 7
    """An agent whose owner left may only read after so many days in which nobody took over."""
    owner_suspend_days: Annotated[int, Field(ge=1, le=14)] = 14
    """It is suspended after so many days."""
    owner_retire_days: Annotated[int, Field(ge=1, le=60)] = 60
    """People are asked to retire it after so many days."""

    baseline_sessions: Annotated[int, Field(ge=20, le=200)] = 60
    """How many sessions of an agent become the baseline of its behaviour. See docs/baselines.md."""
    baseline_days: Annotated[int, Field(ge=1, le=365)] = 30
    """Of an agent whose baseline is learned: after so many days people are told that there are still too few."""
    detectors: tuple[str, ...] = ()
    """Plug-ins that compare behaviour beside the built-in detector, by their entry points: code of others is run."""
    detectors_in_memory: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """For how many agents detectors of behaviour are kept ready; those of others are loaded when a session ends."""

    stdio_servers: Literal["auto", "off", "on"] = "auto"
    """Whether tool servers are started here by command; `auto`: by `accredit up`, not by `accredit serve`."""
    stdio_uids: Annotated[str, Field(pattern=r"^[0-9]{1,10}-[0-9]{1,10}$")] = "61184-65519"
    """Users that such servers run as, one for each, if accredit runs as root; nobody else may have them."""
    stdio_memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = 1024
    """Memory of one process of such a server."""
    stdio_cpu_seconds: Annotated[int, Field(ge=1, le=10_000_000)] = 3600
    """Processor time of one process of such a server, after which it is ended and started anew."""
    stdio_unsafe_same_user: bool = False
    """Run such servers as the user that accredit runs as, who can read the data directory: for trying out alone."""
    store_directories: tuple[str, ...] = ()
    """Directories below which stores of memory and knowledge on this machine may be opened; absolute paths."""
    store_scan_locales: tuple[Literal["br", "de", "es", "fr", "it", "nl", "pl", "uk", "us"], ...] = ()
    """Countries whose own identifiers scans of stores look for; none named: all. Calls are always looked at for all."""
    store_scan_presidio: bool = False
    """Scans of stores also ask Microsoft Presidio (extra `presidio`), without a model and without a network."""
    price_file: str = ""
    """A file with the operator's own prices of models, which go before list prices. See docs/llm.md."""

    opa_url: str = ""
    """A data document of an Open Policy Agent (`http://127.0.0.1:8181/v1/data/accredit/deny`) that may refuse calls."""
    connect_timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 5_000
    """How long a connection to a tool server or provider may take to come about."""
    llm_first_byte_timeout_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 300_000
    """How long a provider of models may take to begin its answer; what a call may take in all is the agent's limit."""
    llm_idle_timeout_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 120_000
    """How long an answer of a model may stand still."""
    opa_timeout_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    """A call that it does not answer for in this time is refused."""
    notice_webhook_url: str = ""
    """Where a signed webhook is sent of holds, requests and alerts; needs `notice_webhook_key_file`."""
    notice_webhook_key_file: str = ""
    """A file, readable by its owner alone, with the webhook's key: at least 24 characters, as they are."""
    chat_votes: Literal["never", "low", "medium", "high"] = "medium"
    """The highest tier of agents' versions that is approved from a chat; with `high` so is everything else."""
    notice_pagerduty_url: str = "https://events.pagerduty.com/v2/enqueue"
    """Where alerts are sent as events of PagerDuty's Events API v2, if `notice_pagerduty_key_file` is set."""
    notice_pagerduty_key_file: str = ""
    """A file, readable by its owner alone, with the routing key of a PagerDuty service."""
    notice_chat_url_file: str = ""
    """A file, readable by its owner alone, with the address of a chat's incoming webhook (Slack or alike), a secret."""

    otlp_endpoint: str = ""
    """Where spans of our own are sent (OTLP/HTTP), as `http://127.0.0.1:4318/v1/traces`. https beyond loopback."""
    otlp_queue: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    """Spans that may wait to be sent; further ones are dropped and counted."""

    @model_validator(mode="after")
    def _protect_each_other(self) -> Self:
        try:
            loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError as error:
            raise ValueError(f"`host` must be an address, not `{self.host[:80]}`") from error
        scheme = urlsplit(self.public_url).scheme if self.public_url else "http"
        if scheme not in {"http", "https"} or self.public_url.endswith("/"):
            raise ValueError("`public_url` must be an http(s) URL without a slash at its end")
        if not self.owner_read_only_days <= self.owner_suspend_days <= self.owner_retire_days:
            raise ValueError("`owner_read_only_days`, `owner_suspend_days` and `owner_retire_days` come in this order")
        if self.opa_url and urlsplit(self.opa_url).scheme not in {"http", "https"}:
            raise ValueError("`opa_url` must be an http(s) URL")
        if bool(self.notice_webhook_url) != bool(self.notice_webhook_key_file):
            raise ValueError("`notice_webhook_url` and `notice_webhook_key_file` belong together")
        if self.notice_webhook_url:
            sound_notice_url(self.notice_webhook_url, "notice_webhook_url")
        sound_notice_url(self.notice_pagerduty_url, "notice_pagerduty_url")
        if any(not each.startswith("/") or each.rstrip("/") == "" for each in self.store_directories):
            raise ValueError("`store_directories` are absolute paths, and not the root")
        first, last = self.stdio_user_ids
        if not 0 < first <= last < 2**31:
            raise ValueError("`stdio_uids` is a range of users such as `61184-65519`, without root")
        if not loopback and self.stdio_unsafe_same_user:
            raise ValueError("`stdio_unsafe_same_user` is for loopback alone")
        if self.otlp_endpoint:
            there = urlsplit(self.otlp_endpoint)
            if there.scheme not in {"http", "https"} or not there.hostname or there.username is not None:
                raise ValueError("`otlp_endpoint` must be an http(s) URL without a name or password in it")
            if there.scheme == "http" and there.hostname not in {"127.0.0.1", "::1", "localhost"}:
                raise ValueError("`otlp_endpoint` beyond loopback must be https")
        if not loopback and scheme != "https":
            raise ValueError(
                "listening beyond loopback needs `public_url` with https, ended by a proxy before accredit"
            )
        return self

    @property
    def stdio_user_ids(self) -> tuple[int, int]:
        """First and last."""
        first, _, last = self.stdio_uids.partition("-")
        return int(first), int(last)

    def url(self, port: int) -> str:
        """The public URL, given the port in use."""
        return self.public_url or f"http://{self.host}:{port}"


def sound_notice_url(url: str, setting: str) -> str:
    """The address, if notices may be sent there: https, or this machine.

    Raises:
        ValueError: they may not. The message does not quote it.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    loopback = host == "localhost" or (host.replace(".", "").isdigit() and host.startswith("127.")) or host == "::1"
    if not host or parts.username is not None or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise ValueError(f"`{setting}` must be an https URL without a user")
    return url


def load_settings(directory: Path | None, environ: Mapping[str, str], **given: Any) -> Settings:
    """Settings of a data directory: file, then environment, then what the command line gave.

    Raises:
        InvalidInputError: a setting is unknown, malformed or unsafe.
    """
    values: dict[str, Any] = {}
    path = directory / "accredit.toml" if directory else None
    if path and path.exists():
        try:
            values |= tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInputError(Code.SETTING_INVALID, f"`{path.name}` is not TOML: {error}") from error
    values |= {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(_PREFIX) and name not in _NOT_SETTINGS
    }
    if isinstance(values.get("allowed_hosts"), str):
        values["allowed_hosts"] = tuple(host.strip() for host in values["allowed_hosts"].split(","))
    for name in ("detectors", "store_directories", "store_scan_locales"):
        if isinstance(values.get(name), str):
            values[name] = tuple(each.strip() for each in values[name].split(","))
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidInputError(
            Code.SETTING_INVALID, faults[:500], hint=f"settings are {', '.join(sorted(Settings.model_fields))}"
        ) from error
