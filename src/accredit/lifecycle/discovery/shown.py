"""Texts out of files that nobody vouches for, made fit to be kept and shown: bounded, and without secrets. Pure.

A secret is found by what it looks like (`kernel/detector.py`) or by what it is called; a reference to one (`${KEY}`)
and a stand-in (`your-key-here`) are none. What is taken for one too many is only told too often, so doubt counts.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from accredit.identity.rows import secret_hash
from accredit.kernel.detector import Detector
from accredit.kernel.legible import visible
from accredit.lifecycle.discovery.model import FoundSecret

__all__ = ["MANY", "Secrets", "program", "provider_of_variable", "tidy", "url"]

MANY: Final = 64
"""Values of one kind that are kept of one thing."""
_LONG: Final = 200
_LONGEST_SECRET: Final = 8_192
_DETECTOR: Final = Detector(most_text=16_384, most_findings=50)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_NAMED: Final = re.compile(
    r"(?i)(?:^|[_\-.])(?:api[_-]?key|apikey|token|secret|password|passwd|pwd|credential|auth|authorization|key)s?$"
)
_REFERENCE: Final = re.compile(
    r"^\s*(?:Bearer\s+)?(?:\$\{|\$\(|\$[A-Za-z_]|\{\{|<|%[A-Za-z_]+%|op://|vault:|arn:|env[:.]|process\.env|file:)",
    re.IGNORECASE,
)
_STAND_IN: Final = re.compile(
    r"(?i)^(?:(?:bearer|basic|token)\s+)?(?:sk-)?(?:your|my|the|insert|replace|change|add|put|enter|paste|example|sample|"
    r"dummy|fake|test|placeholder|redacted|none|null|todo|secret|password|token|key|api|x{3,}|\*{3,}|\.{3}|-+$)"
    r"[a-z0-9_\-. *]*$"
)
_WORDS: Final = re.compile(r"(?i)^[a-z]+(?:[_\- ][a-z]+){0,8}$")
_OURS: Final = re.compile(r"^(?:Bearer\s+)?(akey_[A-Za-z0-9_-]{20,200})$", re.IGNORECASE)
_PACKAGE: Final = re.compile(r"^@?[A-Za-z0-9][A-Za-z0-9._/-]{0,100}(?:@[A-Za-z0-9][A-Za-z0-9.^~-]{0,30})?$")
_SUBCOMMANDS: Final = frozenset({"run", "exec", "x", "dlx", "tool", "start", "mcp", "tsx"})

_VARIABLES: Final[Mapping[str, str]] = {
    "ANTHROPIC_API_KEY": "anthropic", "ANTHROPIC_AUTH_TOKEN": "anthropic", "AI21_API_KEY": "ai21",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock", "AZURE_OPENAI_API_KEY": "azure-openai", "AZURE_API_KEY": "azure-openai",
    "CEREBRAS_API_KEY": "cerebras", "CO_API_KEY": "cohere", "COHERE_API_KEY": "cohere",
    "DASHSCOPE_API_KEY": "dashscope",
    "DEEPSEEK_API_KEY": "deepseek", "FIREWORKS_API_KEY": "fireworks", "GEMINI_API_KEY": "google",
    "GOOGLE_API_KEY": "google", "GOOGLE_GENAI_API_KEY": "google", "GOOGLE_GENERATIVE_AI_API_KEY": "google",
    "GROQ_API_KEY": "groq", "HF_TOKEN": "huggingface", "HUGGINGFACEHUB_API_TOKEN": "huggingface",
    "HUGGINGFACE_API_KEY": "huggingface", "MISTRAL_API_KEY": "mistral", "MOONSHOT_API_KEY": "moonshot",
    "NVIDIA_API_KEY": "nvidia", "OPENAI_API_KEY": "openai", "OPENROUTER_API_KEY": "openrouter",
    "PERPLEXITY_API_KEY": "perplexity", "PPLX_API_KEY": "perplexity", "REPLICATE_API_TOKEN": "replicate",
    "TOGETHER_API_KEY": "together", "VERTEX_API_KEY": "google", "WATSONX_API_KEY": "watsonx",
    "WATSONX_APIKEY": "watsonx", "XAI_API_KEY": "xai", "ZHIPUAI_API_KEY": "zhipu",
}  # fmt: skip
"""Under which names programs look for keys to providers of models."""


def provider_of_variable(name: str) -> str:
    """The provider whose key a variable of that name holds; empty if it is none's."""
    bare = name.upper().removeprefix("VITE_").removeprefix("NEXT_PUBLIC_").removeprefix("REACT_APP_")
    return _VARIABLES.get(bare, "")


def tidy(value: Any, limit: int = _LONG) -> str:
    """A text on one line that hides nothing, without what looks like a secret; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    text = value[: limit * 4]
    for one in reversed([one for one in _DETECTOR.find(text) if one.data_class == "secret"]):
        text = f"{text[: one.start]}[{one.kind}]{text[one.end :]}"
    return visible(_CONTROL.sub(" ", text).strip())[:limit]


def url(value: Any) -> str:
    """Where an address leads: scheme, host and path, for the rest may be a secret; empty for what is no address."""
    if not isinstance(value, str) or len(value) > 2_048:
        return ""
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme.lower() not in {"http", "https", "ws", "wss"} or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    path = "/".join(_segment(one) for one in parts.path.split("/"))
    return tidy(f"{parts.scheme.lower()}://{host.lower()}{f':{port}' if port else ''}{path.rstrip('/')}")


def _segment(text: str) -> str:
    """A piece of a path; long ones without a word in them are how some servers carry their keys."""
    return "[opaque]" if len(text) >= 24 and not _WORDS.match(text) and any(map(str.isdigit, text)) else text


def program(command: Any, arguments: Any) -> str:
    """What is started: the program, and the package or file that its first plain argument names."""
    words = [command] if isinstance(command, str) else list(command)[:MANY] if isinstance(command, list) else []
    if isinstance(arguments, list):
        words += arguments[:MANY]
    texts = [one for one in words if isinstance(one, str) and one.strip()]
    if not texts:
        return ""
    first = texts[0].strip().replace("\\", "/").split(" ")
    name, rest = first[0].rsplit("/", 1)[-1], [*first[1:], *texts[1:]]
    package = ""
    for at, word in enumerate(rest):
        plain = word.strip().replace("\\", "/")
        if plain.startswith("-"):
            continue
        if plain in _SUBCOMMANDS:
            continue
        before = rest[at - 1] if at else ""
        if before.startswith("--") and "=" not in before and before not in {"--yes", "--from", "--rm", "--package"}:
            continue  # the value of an option
        if before in {"-e", "-v", "-p", "-c", "--env"}:
            continue
        if "/" in plain and not plain.startswith("@"):
            plain = "/".join(plain.split("/")[-2:])
        if _PACKAGE.match(plain) and not _opaque(plain):
            package = plain
        break
    return tidy(f"{name} {package}".strip())


def _opaque(text: str) -> bool:
    longest = max(re.split(r"[/._@-]", text), key=len, default="")
    return len(longest) >= 20 and any(map(str.isdigit, longest))


class Secrets:
    """Finds secrets by name and by looks; one scan's digests are all under its salt."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def of(self, values: Iterable[tuple[str, Any]]) -> tuple[FoundSecret, ...]:
        """The secrets among (name, value) pairs, by name and digest."""
        found: dict[tuple[str, str], FoundSecret] = {}
        for name, value in values:
            if len(found) >= MANY or not isinstance(value, str) or not value.strip():
                continue
            for one in self._in(str(name), value[:_LONGEST_SECRET]):
                found[one.name, one.digest] = one
        return tuple(found[key] for key in sorted(found))

    def _in(self, name: str, value: str) -> list[FoundSecret]:
        text = value.strip()
        if ours := _OURS.match(text):
            return [self._secret("accredit_key", name, ours[1], ours=secret_hash(ours[1]))]
        looks = [one for one in _DETECTOR.find(f"{text}\n") if one.data_class == "secret"]
        if looks:
            return [self._secret(one.kind.value, name, text[one.start : one.end]) for one in looks]
        if not (_NAMED.search(name) or provider_of_variable(name)) or self.stands_in(text) or len(text) < 8:
            return []
        return [self._secret("named", name, text)]

    @staticmethod
    def stands_in(value: str) -> bool:
        """Whether a value only stands where a secret would: a reference, or words."""
        text = value.strip()
        return not text or bool(_REFERENCE.match(text) or _STAND_IN.match(text) or _WORDS.match(text))

    def _secret(self, kind: str, name: str, value: str, *, ours: str = "") -> FoundSecret:
        mac = hmac.new(self._salt, value.encode("utf-8", "surrogatepass"), sha256).hexdigest()
        return FoundSecret(kind, tidy(name, 80), f"hmac-sha256:{mac}", ours)
