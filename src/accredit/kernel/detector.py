"""Secrets and personal data in text: what kinds there are and how often, never the values.

Whatever has a check digit, or a form that nothing else has, is found by itself. Numbers that could be anything need a
word that says what they are: close before or after them, or in the first line of the text (the header of a table).
Checks are those of the issuers: ISO 7064 for IBAN and German tax ids, Luhn for cards, ICAO 9303 for passports.

Not found: what is encoded (base64, percent, escapes), broken over lines, written in words, or cut off by a bound. Names
and addresses of people have no form, and special categories of data (GDPR, Article 9) none either. So a count of none
is no proof that there is none, and whoever decides what a tool answers can get anything past this.

Bounded: characters that are looked at, findings, and the work on any text is linear in its length. Patterns begin with
a literal or a digit and repeat nothing that repeats; `tests/kernel/test_detector.py` has texts made to be slow.
"""

from __future__ import annotations

import math
import re
import string
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final

__all__ = ["LOCALES", "Detection", "Detector", "Sensitive", "Sightings"]


class Sensitive(StrEnum):
    """A kind of value, by the name it is recorded under."""

    PRIVATE_KEY = "private_key"
    AWS_KEY = "aws_key"
    GITHUB_TOKEN = "github_token"  # noqa: S105 - the name of a kind
    SLACK_TOKEN = "slack_token"  # noqa: S105 - the name of a kind
    STRIPE_KEY = "stripe_key"
    GOOGLE_KEY = "google_key"
    OPENAI_KEY = "openai_key"
    ANTHROPIC_KEY = "anthropic_key"
    JWT = "jwt"
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    API_KEY = "api_key"
    BEARER = "bearer"
    EMAIL = "email"
    PHONE = "phone"
    IP_ADDRESS = "ip_address"
    IBAN = "iban"
    CARD = "card"
    US_SSN = "us_ssn"
    UK_NHS = "uk_nhs"
    DE_TAX_ID = "de_tax_id"
    NL_BSN = "nl_bsn"
    ES_DNI = "es_dni"
    IT_CODICE_FISCALE = "it_codice_fiscale"
    FR_NIR = "fr_nir"
    PL_PESEL = "pl_pesel"
    BR_CPF = "br_cpf"
    PASSPORT = "passport"
    MEDICAL_RECORD = "medical_record"
    ICD10 = "icd10"
    US_MBI = "us_mbi"

    @property
    def data_class(self) -> str:
        """The registered data class that a value of this kind belongs to."""
        return _CLASSES.get(self, "personal")

    @property
    def checked(self) -> bool:
        """Whether a value is only taken for one if its check digits are right."""
        return self in _CHECKED


_CLASSES: Final = {
    **dict.fromkeys(list(Sensitive)[: list(Sensitive).index(Sensitive.EMAIL)], "secret"),
    **dict.fromkeys((Sensitive.IBAN, Sensitive.CARD), "financial"),
    **dict.fromkeys((Sensitive.UK_NHS, Sensitive.MEDICAL_RECORD, Sensitive.ICD10, Sensitive.US_MBI), "phi"),
}
_CHECKED: Final = frozenset({
    Sensitive.BR_CPF, Sensitive.CARD, Sensitive.DE_TAX_ID, Sensitive.ES_DNI, Sensitive.FR_NIR, Sensitive.IBAN,
    Sensitive.IT_CODICE_FISCALE, Sensitive.NL_BSN, Sensitive.PASSPORT, Sensitive.PL_PESEL, Sensitive.UK_NHS,
})  # fmt: skip


LOCALES: Final[Mapping[str, frozenset[Sensitive]]] = {
    "br": frozenset({Sensitive.BR_CPF}),
    "de": frozenset({Sensitive.DE_TAX_ID}),
    "es": frozenset({Sensitive.ES_DNI}),
    "fr": frozenset({Sensitive.FR_NIR}),
    "it": frozenset({Sensitive.IT_CODICE_FISCALE}),
    "nl": frozenset({Sensitive.NL_BSN}),
    "pl": frozenset({Sensitive.PL_PESEL}),
    "uk": frozenset({Sensitive.UK_NHS}),
    "us": frozenset({Sensitive.US_SSN, Sensitive.US_MBI}),
}
"""Kinds that only one country gives out; all others are looked for everywhere."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One value, by where it stands; the value itself is never kept."""

    kind: Sensitive
    start: int
    end: int

    @property
    def data_class(self) -> str:
        """The registered data class of its kind."""
        return self.kind.data_class


@dataclass(frozen=True, slots=True)
class Sightings:
    """How many different values of each kind were seen."""

    counts: Mapping[Sensitive, int]
    whole: bool = True
    """False: there was more than is looked at, or than is counted."""

    @property
    def data_classes(self) -> frozenset[str]:
        """Registered data classes of all kinds seen."""
        return frozenset(kind.data_class for kind in self.counts)


class Detector:
    """Looks at texts and at values made of them. Pure: equal texts have equal findings."""

    __slots__ = ("_most_findings", "_most_text", "_most_values", "_passed_over")

    def __init__(
        self,
        *,
        most_text: int = 262_144,
        most_findings: int = 1_000,
        most_values: int = 20_000,
        locales: Iterable[str] = tuple(LOCALES),
    ) -> None:
        """`locales` are those of `LOCALES` whose own identifiers are looked for.

        Raises:
            KeyError: there is no such locale.
        """
        wanted = frozenset[Sensitive]().union(*(LOCALES[one] for one in locales))
        self._passed_over = frozenset[Sensitive]().union(*LOCALES.values()) - wanted
        self._most_text = most_text
        self._most_findings = most_findings
        self._most_values = most_values

    def find(self, text: str) -> tuple[Detection, ...]:
        """What stands where in the beginning of a text, in order, no two at the same place."""
        return tuple(
            sorted(
                _found(_Folded(text[: self._most_text]), self._most_findings, self._passed_over),
                key=lambda one: one.start,
            )
        )

    def count(self, value: Any) -> Sightings:
        """What a text, or mappings and lists of texts and numbers, have in them. Keys are looked at too."""
        lines, whole = _lines(value, self._most_text, self._most_values)
        text = _Folded("\n".join(lines))
        found = _found(text, self._most_findings, self._passed_over)
        if not found:
            return Sightings({}, whole)
        different = {(one.kind, _bare(text.original[one.start : one.end])) for one in found}
        counted = Counter(kind for kind, _ in different)
        return Sightings(
            {kind: counted[kind] for kind in sorted(counted, key=_PLACES.__getitem__)},
            whole and len(found) < self._most_findings,
        )


def _bare(value: str) -> str:
    """What a value has in common however it is written."""
    return "".join(filter(str.isalnum, value)).casefold()


def _lines(value: Any, left: int, values: int) -> tuple[list[str], bool]:
    """Every text and number of a value on lines of its own after its key, until a bound; whether that was all."""
    lines: list[str] = []
    whole = True
    above: list[tuple[str, Iterator[tuple[str, Any]]]] = [("", iter([("", value)]))]
    while above:
        inherited, items = above[-1]
        name, item = next(items, (None, None))
        if name is None:
            above.pop()
            continue
        key = name or inherited
        text = item if isinstance(item, str) else None  # most are, and it is the cheapest to find out
        if text is not None and len(text) >= _LONG and _ENCODED.fullmatch(text[:left]):
            whole, line, text = False, name, None  # a picture would take the room of what can be read
        elif text is not None:
            line = f"{key}: {text[:left]}" if key and key not in _BLOCK else text[:left]
            line = _HEAD + line if "\n" in line else line
        elif isinstance(item, dict) or isinstance(item, Mapping):  # noqa: SIM101 - the second asks far more
            above.append(("", ((str(inner), below) for inner, below in item.items())))
            line = name
        elif isinstance(item, list | tuple):
            above.append((key, (("", below) for below in item)))
            line = name
        elif isinstance(item, int) and not isinstance(item, bool) and abs(item) < _LARGEST:
            line = f"{key}: {item}"
        else:
            line = name
        values -= 1
        if values < 0 or len(line) > left or (text is not None and len(text) > left):
            return [*lines, line[:left]], False
        if line:
            left -= len(line) + 1
            lines.append(line)
    return lines, whole


_PLACES: Final = {kind: place for place, kind in enumerate(Sensitive)}
_LONG: Final = 1_024
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_=-]++")
_LARGEST: Final = 10**40
_BLOCK: Final = frozenset({"text", "type"})
"""Names in every answer of a tool (MCP, content blocks): they say nothing, and would hide the header of a table."""


# -- text as it is compared


_UNSEEN: Final = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_OTHER_FORMS: Final = re.compile(
    "[\u00a0\u0130\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u2000-\u200a\u2010-\u2015\u202f\u205f\u2212\u3000"
    "\uff01-\uff5e\u2018\u2019\u201c\u201d\uff61]"
)


def _plain(match: re.Match[str]) -> str:
    character = match[0]
    if character.isdecimal():
        return str(int(character))
    code = ord(character)
    if 0xFF01 <= code <= 0xFF5E:
        return chr(code - 0xFEE0)
    if 0x2010 <= code <= 0x2015 or code == 0x2212:
        return "-"
    return _QUOTES.get(character, " ")


_QUOTES: Final = {"\u0130": "I", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\uff61": "."}


class _Folded:
    """A text without what is not seen, and with one form of each digit, space, dash and wide letter."""

    __slots__ = ("_headed", "_headers", "_removed", "lower", "original", "text")

    def __init__(self, original: str) -> None:
        self.original = original
        self._removed: list[int] = []
        text = original
        if not text.isascii():
            for number, match in enumerate(_UNSEEN.finditer(original)):
                self._removed.append(match.start() - number)
            text = _OTHER_FORMS.sub(_plain, _UNSEEN.sub("", original) if self._removed else original)
        if "\\" in text:  # a document within a text: what is escaped in it is no letter before a value
            for escape, meant in _ESCAPES:
                text = text.replace(escape, meant)
        self.text = text
        self.lower = text.lower()
        self._headed: list[int] | None = None
        self._headers: dict[tuple[int, re.Pattern[str]], bool] = {}

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where in the original text a part of this one stands."""
        removed = self._removed
        if not removed:
            return start, end
        return start + bisect_right(removed, start), end + bisect_right(removed, end - 1)

    def near(self, words: re.Pattern[str], start: int, end: int) -> bool:
        """Whether one of these words stands close, or in the header of the table."""
        return bool(
            words.search(self.lower, max(0, start - _BEFORE), start)
            or words.search(self.lower, end, end + _AFTER)
            or self._heads(words, start)
        )

    def _heads(self, words: re.Pattern[str], at: int) -> bool:
        """Whether one is in the first line of the value that stands here, if it has several."""
        if self._headed is None:
            self._headed = [0, *(match.end() for match in _HEADED.finditer(self.lower))]
        start = self._headed[bisect_right(self._headed, at) - 1]
        known = self._headers.get((start, words))
        if known is None:
            line, ended, _ = self.lower[start : start + _LONGEST_HEADER].partition("\n")
            known = self._headers[start, words] = bool(ended and words.search(line))
        return known


_HEADED: Final = re.compile(_HEAD := "\x1e")
"""Stands before each value of several lines when the values of a whole are looked at."""
_ESCAPES: Final = (("\\n", " \n"), ("\\r", " \r"), ("\\t", " \t"), ('\\"', ' "'))
_LONGEST_HEADER: Final = 2_000
_BEFORE: Final = 64
_AFTER: Final = 32


# -- finding

_Where = tuple[Sensitive, int, int]


def _found(text: _Folded, most: int, passed_over: frozenset[Sensitive]) -> list[Detection]:
    """Of findings that overlap the one counts whose rule comes first: it says most."""
    taken = _Taken()
    found: list[Detection] = []
    for rule in _RULES:
        for kind, start, end in rule(text):
            if kind not in passed_over and taken.take(start, end):
                found.append(Detection(kind, *text.span(start, end)))
                if len(found) >= most:
                    return found
    return found


class _Taken:
    """Places of a text, each held by one finding."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, start: int, end: int) -> bool:
        at = bisect_right(self._starts, start)
        if (at and self._ends[at - 1] > start) or (at < len(self._starts) and self._starts[at] < end):
            return False
        self._starts.insert(at, start)
        self._ends.insert(at, end)
        return True


# -- secrets with a form of their own

_PEM: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"[A-Za-z0-9+/=]{40}")


def _private_keys(text: _Folded) -> Iterator[_Where]:
    at, closed = 0, True
    while (match := _PEM.search(text.text, at)) is not None:
        at = match.end()
        if _PEM_BODY.search(text.text, at, at + 400) is None:  # the words alone, as programs have them
            continue
        end = _PEM_END.search(text.text, at) if closed else None
        closed = end is not None
        at = end.end() if end is not None else at
        yield Sensitive.PRIVATE_KEY, match.start(), at


_B62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _github_checksum(secret: str) -> str:
    """The six characters that end a GitHub token, of the thirty before them."""
    number, found = zlib.crc32(secret.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        found = _B62[digit] + found
    return found


def _github(value: str) -> bool:
    return value.startswith("github_pat_") or _github_checksum(value[4:34]) == value[34:]


def _openai(value: str) -> bool:
    return "T3BlbkFJ" in value or (
        value.startswith(("sk-proj-", "sk-svcacct-", "sk-admin-")) and _random(value[8:], 90)
    )


def _random(value: str, bits: float) -> bool:
    """Whether a value looks drawn rather than written: enough entropy in its letters, and two sorts of them."""
    sorts = (
        any(character.islower() for character in value)
        + any(character.isupper() for character in value)
        + any(character.isdigit() for character in value)
        + (not value.isalnum())
    )
    size = len(value)
    entropy = -sum(count * math.log2(count / size) for count in Counter(value).values())
    return sorts >= 2 and entropy >= bits


@dataclass(frozen=True, slots=True)
class _Form:
    """A secret that begins with one of these literals."""

    kind: Sensitive
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = bool

    def __call__(self, text: _Folded) -> Iterator[_Where]:
        for literal in self.literals:
            if literal not in text.text:
                continue
            at = text.text.find(literal)
            while at >= 0:
                match = self.pattern.match(text.text, at)
                if match is not None and self.check(match[0]):
                    yield self.kind, match.start(), match.end()
                at = text.text.find(literal, max(match.end(), at + 1) if match is not None else at + 1)


_EDGE: Final = r"(?<![A-Za-z0-9_])"
_END: Final = r"(?![A-Za-z0-9_])"
_FORMS: Final = (
    _Form(Sensitive.AWS_KEY, ("AKIA", "ASIA"), re.compile(rf"{_EDGE}A[KS]IA[A-Z2-7]{{16}}{_END}")),
    _Form(
        Sensitive.GITHUB_TOKEN,
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(rf"{_EDGE}(?:gh[pousr]_[A-Za-z0-9]{{36}}|github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}){_END}"),
        _github,
    ),
    _Form(
        Sensitive.SLACK_TOKEN,
        ("xox", "xapp-", "hooks.slack.com/services/"),
        re.compile(
            rf"{_EDGE}(?:xox[abeoprs]-[0-9A-Za-z-]{{20,250}}+|xapp-[0-9]-[0-9A-Z]{{8,16}}-[0-9]{{8,16}}-[0-9a-f]{{32,80}}+"
            r"|hooks\.slack\.com/services/T[0-9A-Z]{6,12}/B[0-9A-Z]{6,12}/[0-9A-Za-z]{20,30}+)"
        ),
        lambda value: any(character.isdigit() for character in value),
    ),
    _Form(
        Sensitive.STRIPE_KEY,
        ("sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"),
        re.compile(rf"{_EDGE}(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9+/]{{20,250}}+"),
        lambda value: _random(value[6:], 60),
    ),
    _Form(Sensitive.GOOGLE_KEY, ("AIza",), re.compile(rf"{_EDGE}AIza[0-9A-Za-z_-]{{35}}(?![0-9A-Za-z_-])")),
    _Form(
        Sensitive.ANTHROPIC_KEY,
        ("sk-ant-",),
        re.compile(rf"{_EDGE}sk-ant-[a-z]{{2,8}}[0-9]{{2}}-[0-9A-Za-z_-]{{40,250}}+"),
    ),
    _Form(Sensitive.OPENAI_KEY, ("sk-",), re.compile(rf"{_EDGE}sk-[0-9A-Za-z_-]{{40,250}}+"), _openai),
    _Form(
        Sensitive.JWT,
        ("eyJ",),
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2000}+\.eyJ[A-Za-z0-9_-]{8,16000}+\.[A-Za-z0-9_-]{20,2000}+"),
    ),
)

# -- secrets after a word that names them

_STEMS: Final = ("pass", "pwd", "accountkey", "secret", "api", "token", "kennwort", "contrase", "mot de passe")
_NAMED: Final = re.compile(
    r"(?:(?P<password>passw(?:ord|d|ort)|passphrase|pass(?<![a-z]pass)(?=[\"'=])|pwd|kennwort"
    r"|contrase(?:\u00f1|n)a|mot de passe)"
    r"|accountkey|secret(?:[ _-]?access)?(?:[ _-]?key)?|api[ _-]?(?:key|token|secret)|token)"
    r"[\"']?(?:[ \t]{0,3}(?:=>|:=|[:=])[ \t]{0,3}|[ ](?:is|ist|est|es):?[ ]|>(?=[A-Za-z0-9$!#]))"
    r"[\"'`]?(?:(?:bearer|basic|token) )?"
)
_SECRET_VALUE: Final = re.compile(r"[^\s\"'`,;<>&|\\]{6,200}+")
_CODE: Final = re.compile(
    r"\$[{(]|\$[A-Za-z_]+$|%[A-Za-z_]+%|[{(*\[\u2026]|\.{3}|x{4}|[a-z_][\w.]*[(\[]|https?://|[/~]\w+/|sha\d{3}[:-]"
    r"|[a-z]{3,}/[\w-]+/[a-z]{3,}"
    r"|(?:os|process|self|this|settings|config|env|request|args|params)\.\w",
    re.IGNORECASE,
)
_NOT_YET: Final = re.compile(
    r"example|change_?me|placeholder|redacted|your[-_]|dummy|none|null|true|false", re.IGNORECASE
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d|v?\d+(?:\.\d+){1,4}$")


def _named_secrets(text: _Folded) -> Iterator[_Where]:
    lower = text.lower
    for stem in _STEMS:
        at = lower.find(stem)
        while at >= 0:
            match = _NAMED.match(lower, at)
            value = _SECRET_VALUE.match(text.text, match.end()) if match is not None else None
            if match is not None and value is not None:
                end = value.end() - (len(value[0]) - len(value[0].rstrip(".:)]}!?")))
                said = text.text[value.start() : end]
                kind = Sensitive.PASSWORD if match["password"] else Sensitive.API_KEY
                if _secret(said, kind) and not _NO_SECRET.search(lower, max(0, at - 16), at):
                    yield kind, value.start(), end
            at = lower.find(stem, match.end() if match is not None else at + len(stem))


def _secret(value: str, kind: Sensitive) -> bool:
    if _CODE.match(value) or _NOT_YET.match(value) or _DATE.match(value):
        return False
    if kind is Sensitive.PASSWORD:
        letters = any(character.isalpha() for character in value[:_JUDGED])
        return letters and len(value) >= 6 and not _WORDS.fullmatch(value) and _random(value[:_JUDGED], 15)
    # a key has no shape of words: `refresh_token=session-store-default` is a name
    return len(value) >= 16 and any(character.isdigit() for character in value) and _random(value[:_JUDGED], 45)


_NO_SECRET: Final = re.compile(r"(?:next|page|continuation|sync|cursor|idempotency|request|cancel)[ _-]?$")
"""Before `token`: what a list goes on with, or calls are told apart by."""
_JUDGED: Final = 64
"""Characters by which a value is judged."""
_WORDS: Final = re.compile(r"[A-Za-z]?[a-z]*(?:[._/-][A-Za-z]?[a-z]*)*+|[A-Z_]+|[a-z]*(?:[A-Z][a-z]*)*+")
_BEARER: Final = re.compile(r"bearer[ \t]{1,2}([a-z0-9._~+/-]{16,2000}+=*+)")
_BASIC: Final = re.compile(r"authorization[\"']?[:=]\s{0,2}[\"']?basic[ ]([a-z0-9+/]{8,400}+=*+)")
_LOGIN: Final = re.compile(r"://[^\s/:@\"'<>]{0,64}:([^\s/:@\"'<>]{3,128})@")


_ITS_NAME: Final = frozenset({"pass", "passwd", "password", "pw", "pwd", "secret", "token"})


def _headers(text: _Folded) -> Iterator[_Where]:
    if "bearer" in text.lower:
        for match in _BEARER.finditer(text.lower):
            value = text.text[match.start(1) : match.end(1)]
            if any(character.isdigit() for character in value) and _random(value, 45):
                yield Sensitive.BEARER, match.start(1), match.end(1)
    if "basic" in text.lower:
        for match in _BASIC.finditer(text.lower):
            yield Sensitive.PASSWORD, match.start(1), match.end(1)
    if "://" in text.text and "@" in text.text:
        for match in _LOGIN.finditer(text.text):
            if not _CODE.match(match[1]) and match[1].lower() not in _ITS_NAME:
                yield Sensitive.PASSWORD, match.start(1), match.end(1)


# -- numbers

_RUN: Final = re.compile(r"[0-9][0-9 .\-]{8,}+")
_GROUP: Final = re.compile(r"[0-9]++")
_GOES_ON: Final = re.compile(r"-?[A-Za-z0-9]|\.[0-9]")
"""After what is only the beginning of something longer."""


def _digits(value: str) -> list[int]:
    return [int(character) for character in value if character.isdigit()]


def _luhn(digits: list[int]) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    return (sum(digits[-1::-2]) + sum(_DOUBLED[digit] for digit in digits[-2::-2])) % 10 == 0


_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _card(digits: list[int]) -> bool:
    """Luhn, and a prefix and length that issuers use."""
    size, number = len(digits), int("".join(map(str, digits[:4])))
    two, three = number // 100, number // 10
    issued = (
        (number // 1000 == 4 and size in {16, 19})
        or ((51 <= two <= 55 or 2221 <= number <= 2720) and size == 16)
        or (two in {34, 37} and size == 15)
        or ((number == 6011 or two == 65 or 644 <= three <= 649 or two == 62) and size in {16, 19})
        or ((300 <= three <= 305 or two in {36, 38, 39}) and size == 14)
        or (3528 <= number <= 3589 and size == 16)
    )
    return issued and len(set(digits)) > 1 and _luhn(digits)


def _ssn(digits: list[int]) -> bool:
    """Areas, groups and serials that are issued; not the ones that were printed in advertisements."""
    area, group, serial = (int("".join(map(str, part))) for part in (digits[:3], digits[3:5], digits[5:]))
    printed = (area, group, serial) in {(78, 5, 1120), (219, 9, 9999)}
    return area not in {0, 666} and area < 900 and group > 0 and serial > 0 and not printed


def _nhs(digits: list[int]) -> bool:
    rest = 11 - sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return rest % 11 == digits[9] and len(set(digits)) > 1


def _german(digits: list[int]) -> bool:
    """ISO 7064 MOD 11, 10; of the first ten digits exactly one is there twice or three times."""
    repeated = sorted(Counter(digits[:10]).values())
    if digits[0] == 0 or repeated[-1] not in {2, 3} or (len(repeated) > 1 and repeated[-2] != 1):
        return False
    product = 10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[10]


def _dutch(digits: list[int]) -> bool:
    return sum(d * w for d, w in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True)) % 11 == 0 and any(digits)


def _polish(digits: list[int]) -> bool:
    century = {8: 1800, 0: 1900, 2: 2000, 4: 2100, 6: 2200}.get(digits[2] // 2 * 2)
    if century is None:
        return False
    try:
        date(century + digits[0] * 10 + digits[1], digits[2] % 2 * 10 + digits[3], digits[4] * 10 + digits[5])
    except ValueError:
        return False
    return sum(d * w for d, w in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True)) % 10 == 0


def _brazilian(digits: list[int]) -> bool:
    for size in (9, 10):
        rest = sum(digit * weight for digit, weight in zip(digits, range(size + 1, 1, -1), strict=False)) * 10 % 11 % 10
        if rest != digits[size]:
            return False
    return len(set(digits)) > 1


def _french(digits: list[int]) -> bool:
    number = int("".join(map(str, digits)))
    month = digits[3] * 10 + digits[4]
    plausible = digits[0] in {1, 2} and (1 <= month <= 12 or 20 <= month <= 42 or 50 <= month <= 99)
    return plausible and 97 - number // 100 % 97 == number % 100


def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])")


_SSN_WORDS: Final = _word(r"ssn|social[ _-]?security|ss#|tax[ _-]?payer[ _-]?id|itin")
_NHS_WORDS: Final = _word(r"nhs")
_GERMAN_WORDS: Final = _word(
    r"idnr|tin|steuer-?id|steuer-?identifikationsnummer|steuer-?nummer|steueridentnr|steuerliche[a-z]*"
    r"|identifikationsnummer|tax[ _-]?id[a-z]*|tax[ _-]?number"
)
_BSN_WORDS: Final = _word(r"bsn|burgerservicenummer|sofi-?nummer|citizen service number")
_PESEL_WORDS: Final = _word(r"pesel(?:u|em|owi)?")
_CPF_WORDS: Final = _word(r"cpf")


@dataclass(frozen=True, slots=True)
class _Number:
    kind: Sensitive
    check: Callable[[list[int]], bool]
    words: re.Pattern[str] | None = None
    """None: it is found by itself."""
    stems: tuple[str, ...] = ()
    """Of the words: without one of these in a text there is none of them."""


_US_SSN: Final = _Number(Sensitive.US_SSN, _ssn, _SSN_WORDS, ("ss", "social", "tax", "itin"))
_NL_BSN: Final = _Number(Sensitive.NL_BSN, _dutch, _BSN_WORDS, ("bsn", "nummer", "sofi", "citizen"))
_UK_NHS: Final = _Number(Sensitive.UK_NHS, _nhs, _NHS_WORDS, ("nhs",))
_PL_PESEL: Final = _Number(Sensitive.PL_PESEL, _polish, _PESEL_WORDS, ("pesel",))
_BR_CPF: Final = _Number(Sensitive.BR_CPF, _brazilian, _CPF_WORDS, ("cpf",))
_DE_TAX_ID: Final = _Number(Sensitive.DE_TAX_ID, _german, _GERMAN_WORDS, ("idnr", "tin", "steuer", "nummer", "tax"))
_SOLE_CARD: Final = _Number(Sensitive.CARD, _card)
_SHAPES: Final[Mapping[str, tuple[_Number, ...]]] = {
    "14": (_SOLE_CARD,),
    "15": (_Number(Sensitive.FR_NIR, _french), _SOLE_CARD),
    "13 2": (_Number(Sensitive.FR_NIR, _french),),
    "1 2 2 2 3 3 2": (_Number(Sensitive.FR_NIR, _french),),
    "1-2-2-2-3-3-2": (_Number(Sensitive.FR_NIR, _french),),
    "1.2.2.2.3.3.2": (_Number(Sensitive.FR_NIR, _french),),
    **dict.fromkeys(
        ("16", "19", "4 4 4 4", "4-4-4-4", "4.4.4.4", "4 4 4 4 3", "4-4-4-4-3", "4 6 5", "4-6-5", "4 6 4", "4-6-4"),
        (_SOLE_CARD,),
    ),
    "3-2-4": (_Number(Sensitive.US_SSN, _ssn),),
    "3 2 4": (_US_SSN, _NL_BSN),
    "9": (_NL_BSN, _US_SSN),
    **dict.fromkeys(("4.2.3", "4 2 3", "3 3 3", "3.3.3"), (_NL_BSN,)),
    **dict.fromkeys(("10", "3 3 4", "3-3-4"), (_UK_NHS,)),
    "2 3 3 3": (_Number(Sensitive.DE_TAX_ID, _german),),
    "11": (
        _PL_PESEL,
        _BR_CPF,
        _DE_TAX_ID,
    ),
    "3.3.3-2": (_Number(Sensitive.BR_CPF, _brazilian),),
    "9-2": (_Number(Sensitive.BR_CPF, _brazilian),),
    "3 3 3 2": (_BR_CPF,),
}
"""Lengths of groups of digits with what stands between them; of several kinds the first that fits."""
_WORDED: Final = frozenset(number for numbers in _SHAPES.values() for number in numbers if number.words is not None)
_BEGINNINGS: Final = frozenset(shape[:size] for shape in _SHAPES for size in range(1, len(shape) + 1))


def _numbers(text: _Folded) -> Iterator[_Where]:
    shapes: Mapping[str, tuple[_Number, ...]] | None = None
    for run in _RUN.finditer(text.text):
        shapes = _possible(text) if shapes is None else shapes
        said = run[0].rstrip(" .-")
        if said.isdigit():
            if str(len(said)) not in shapes:
                continue
        elif len(said) - said.count(" ") - said.count("-") - (dots := said.count(".")) < _LEAST_DIGITS or (
            dots == 1 and " " not in said and "-" not in said  # a fraction
        ):
            continue
        groups = [(group.start(), group.end()) for group in _GROUP.finditer(text.text, run.start(), run.end())]
        at = 1 if _ENDS.search(text.text, max(0, run.start() - 2), run.start()) else 0
        if at < len(groups) and _in_account(text, groups[at][0]):
            continue
        while at < len(groups):
            found, used = _number(text, shapes, groups, at)
            if found is not None:
                yield found
            at += used


_ENDS: Final = re.compile(r"(?:[A-Za-z0-9]|[0-9]\.|[A-Za-z0-9]-)\Z")
"""Before digits that are only the end of something longer."""
_LEAST_DIGITS: Final = 9


def _possible(text: _Folded) -> Mapping[str, tuple[_Number, ...]]:
    """The shapes of what can be in a text that has these words."""
    return _without(frozenset(one.kind for one in _WORDED if not any(stem in text.lower for stem in one.stems)))


@lru_cache(maxsize=256)
def _without(unnamed: frozenset[Sensitive]) -> Mapping[str, tuple[_Number, ...]]:
    possible = {
        shape: tuple(one for one in numbers if one.words is None or one.kind not in unnamed)
        for shape, numbers in _SHAPES.items()
    }
    return {shape: numbers for shape, numbers in possible.items() if numbers}


def _number(
    text: _Folded, shapes: Mapping[str, tuple[_Number, ...]], groups: list[tuple[int, int]], at: int
) -> tuple[_Where | None, int]:
    """The longest number of a known shape that begins with this group, and how many groups it took."""
    start, end = groups[at]
    shape, ends = str(end - start), []
    if at and text.text[start - 1] in ".-":
        return None, 1
    for after in range(at, min(len(groups), at + 7)):
        if after > at:
            begin, end = groups[after]
            shape += text.text[groups[after - 1][1] : begin] + str(end - begin)
        if shape not in _BEGINNINGS:
            break
        if shape in shapes and not _GOES_ON.match(text.text, end):
            ends.append((shape, after))
    for known, after in reversed(ends):
        end = groups[after][1]
        digits = _digits(text.text[start:end])
        for number in shapes[known]:
            if number.check(digits) and (number.words is None or text.near(number.words, start, end)):
                return (number.kind, start, end), after - at + 1
    return None, 1


# -- identifiers with letters

_IBAN_SIZES: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
_IBAN: Final = re.compile(
    r"[0-9](?<=[a-z]{2}[0-9])(?<![a-z0-9_][a-z]{2}[0-9])(?<![0-9a-f]-[a-z]{2}[0-9])[0-9][ -]?[a-z0-9]"
)
_IBAN_REST: Final = {
    size: re.compile(rf"(?:[ -]?[a-z0-9]){{{size - 4}}}(?![a-z0-9_])") for size in _IBAN_SIZES.values()
}


_IBAN_HEAD: Final = re.compile(r"[a-z]{2}[0-9]{2}[ -]")


def _in_account(text: _Folded, start: int) -> bool:
    """Whether digits that begin here go on what has the form of an IBAN, sound or not: no card is in the middle."""
    for begin in range(start - 5, max(-1, start - 31), -5):  # groups of four
        head = _IBAN_HEAD.match(text.lower, begin)
        size = _IBAN_SIZES.get(head[0][:2].upper()) if head is not None else None
        rest = _IBAN_REST[size].match(text.lower, begin + 4) if size is not None else None
        if rest is not None and rest.end() > start:
            return True
    return False


def _mod_97(value: str) -> int:
    """ISO 7064 MOD 97-10 of a value, its first four characters put last."""
    return int("".join(str(int(character, 36)) for character in value[4:] + value[:4])) % 97


def _ibans(text: _Folded) -> Iterator[_Where]:
    for head in _IBAN.finditer(text.lower):
        start = head.start() - 2
        size = _IBAN_SIZES.get(text.lower[start : start + 2].upper())
        rest = _IBAN_REST[size].match(text.lower, start + 4) if size is not None else None
        if rest is None:
            continue
        value = _bare(text.lower[start : rest.end()])
        if value.isascii() and _mod_97(value) == 1 and len(set(value[4:])) > 2:
            yield Sensitive.IBAN, start, rest.end()


_SPANISH: Final = re.compile(r"[0-9]{2}(?:[0-9]{5}[0-9]?|\.[0-9]{3}\.[0-9]{3})-?[A-Za-z](?![A-Za-z0-9_-])")
_SPANISH_WORDS: Final = _word(r"dni|nie|nif|documento")
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def _spanish(text: _Folded) -> Iterator[_Where]:
    for match in _SPANISH.finditer(text.text):
        start, digits = match.start(), "".join(filter(str.isdigit, match[0]))
        if len(digits) == 7:  # of a foreigner, with a letter for the first digit
            start -= 2 if text.text[start - 1 : start] == "-" else 1
            first = text.text[start].upper() if start >= 0 else ""
            if first not in {"X", "Y", "Z"}:
                continue
            digits = f"{'XYZ'.index(first)}{digits}"
        sound = _DNI_LETTERS[int(digits) % 23] == match[0][-1].upper() and len(set(digits)) > 1
        if not sound or (start and _LEADS.match(text.text, start - 1)):
            continue
        if not text.text[start : match.end()].islower() or text.near(_SPANISH_WORDS, start, match.end()):
            yield Sensitive.ES_DNI, start, match.end()


_LEADS: Final = re.compile(r"[A-Za-z0-9_.-]")
"""What makes a value the end of something longer."""


_FISCALE: Final = re.compile(
    r"[0-9](?<=[a-z]{6}[0-9])(?<![a-z0-9_][a-z]{6}[0-9])[0-9lmnp-v][abcdehlmprst][0-7lmnp-t][0-9lmnp-v]"
    r"[a-z][0-9lmnp-v]{3}[a-z](?![a-z0-9_])"
)
_ODD: Final = dict(
    zip(
        string.digits + string.ascii_lowercase,
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip


def _fiscale(value: str) -> bool:
    total = sum(_ODD[character] for character in value[:15:2])
    total += sum(int(character, 36) - (0 if character.isdigit() else 10) for character in value[1:15:2])
    return chr(ord("a") + total % 26) == value[15]


def _italian(text: _Folded) -> Iterator[_Where]:
    for match in _FISCALE.finditer(text.lower):
        start = match.start() - 6
        if _fiscale(text.lower[start : match.end()]):
            yield Sensitive.IT_CODICE_FISCALE, start, match.end()


_TD3_DATES: Final = re.compile(r"[0-9]{7}[MFX<][0-9]{7}")
_TD3: Final = re.compile(r"[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9](?![A-Za-z0-9])")


def _mrz_digit(value: str) -> str:
    """The check digit of a field of a machine readable zone (ICAO 9303-3, 4.9)."""
    weighed = ((0 if char == "<" else int(char, 36)) * (7, 3, 1)[at % 3] for at, char in enumerate(value))
    return str(sum(weighed) % 10)


def _passports(text: _Folded) -> Iterator[_Where]:
    for dates in _TD3_DATES.finditer(text.text):
        start = dates.start() - 13
        match = _TD3.match(text.text, start) if start >= 0 else None
        if match is None or (start and text.text[start - 1].isalnum()):
            continue
        line = match[0]
        if (
            _mrz_digit(line[:9]) == line[9]
            and _mrz_digit(line[13:19]) == line[19]
            and _mrz_digit(line[21:27]) == line[27]
            and (_mrz_digit(line[28:42]) == line[42] or (line[42] == "<" and set(line[28:42]) == {"<"}))
            and _mrz_digit(line[:10] + line[13:20] + line[21:43]) == line[43]
        ):
            yield Sensitive.PASSPORT, start, match.end()


# -- ways to reach somebody

_LOCAL_FROM: Final = re.compile(r"[A-Za-z0-9._%+'\u00c0-\u024f-]")
_DOMAIN: Final = re.compile(r"[a-z0-9.\-\u00e0-\u024f]{3,253}+")
_LABEL: Final = re.compile(r"[a-z0-9\u00e0-\u024f][a-z0-9\u00e0-\u024f-]{0,62}+")
_NO_DOMAINS: Final = frozenset(
    {
        "bmp", "class", "conf", "config", "cpp", "css", "csv", "dll", "exe", "gif", "html", "ico", "ini",
        "internal", "invalid", "java", "jpeg", "jpg", "js", "json", "jsx", "local", "localhost", "log", "lock",
        "mount", "path", "pdf", "php", "png", "scope", "service", "slice", "socket", "svg", "swap", "target",
        "test", "timer", "tmp", "ts", "tsx", "txt", "webp", "xml", "yaml", "yml",
    }
)  # fmt: skip
"""What ends a file or a unit of a system, not a domain."""
_NO_PERSON: Final = frozenset({"git", "svn", "hg"})


def _mails(text: _Folded) -> Iterator[_Where]:
    lower, at, past = text.lower, text.lower.find("@"), 0
    while at >= 0:
        start = at
        while start > max(past, at - 64) and _LOCAL_FROM.match(lower, start - 1):
            start -= 1
        while start < at and lower[start] in ".'-%+":
            start += 1
        domain = _DOMAIN.match(lower, at + 1)
        if domain is not None and start < at and lower[at - 1] != ".":
            host = domain[0].rstrip(".-")
            if _hosts(host) and lower[start:at] not in _NO_PERSON:
                yield Sensitive.EMAIL, start, at + 1 + len(host)
        past, at = at + 1, lower.find("@", at + 1)


def _hosts(host: str) -> bool:
    labels = host.split(".")
    top = labels[-1]
    return (
        len(labels) >= 2
        and 2 <= len(top) <= 24
        and top.isalpha()
        and top not in _NO_DOMAINS
        and all(_LABEL.fullmatch(label) for label in labels)
    )


_PLUS: Final = re.compile(r"\+(?<![A-Za-z0-9_/+=.]\+)[ (]?[0-9][0-9 ().\-]{6,24}+")
_CODES: Final = frozenset(
    {
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49",
        "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84",
        "86", "90", "91", "92", "93", "94", "95", "98",
    }
)  # fmt: skip
_LONG_CODES: Final = frozenset(
    {
        "21", "22", "23", "24", "25", "26", "29", "35", "37", "38", "42", "50", "59", "67", "68", "80", "85", "87",
        "88", "96", "97", "99",
    }
)  # fmt: skip
"""How country codes of three digits begin (ITU-T E.164)."""


def _calls(text: _Folded) -> Iterator[_Where]:
    if "+" in text.text:
        for match in _PLUS.finditer(text.text):
            end = _phone_end(text.text, match.start(), match.end(), most=15)
            digits = "".join(filter(str.isdigit, text.text[match.start() : end]))
            if _international(digits):
                yield Sensitive.PHONE, match.start(), end
    for stem in _PHONE_STEMS:
        if stem not in text.lower:
            continue
        for match in _PHONES[stem].finditer(text.lower):
            start = match.start(1)
            end = _phone_end(text.text, start, match.end(1), most=15)
            number = text.text[start:end]
            if 7 <= sum(map(str.isdigit, number)) <= 15 and len(set(number)) > 3 and not _DATE.match(number):
                yield Sensitive.PHONE, start, end


def _phone_end(text: str, start: int, end: int, *, most: int) -> int:
    """Where a number ends that begins here: before two separators in a row, or a group that is too much."""
    digits, last, gap = 0, start, 0
    for at in range(start, end):
        character = text[at]
        if character.isdigit():
            digits += 1
            if digits > most:
                return last
            gap = 0
            if at + 1 == end or not text[at + 1].isdigit():
                last = at + 1
        elif character in " .-/":
            gap += 1
            if gap > 1:
                return last
    return last


def _international(digits: str) -> bool:
    if len(set(digits)) < 3 or digits[0] == "0":
        return False
    if digits[0] == "1":
        return len(digits) == 11 and digits[1] > "1" and digits[4] > "1"
    if digits[0] == "7":
        return len(digits) == 11
    return 9 <= len(digits) <= 15 and (digits[:2] in _CODES or digits[:2] in _LONG_CODES)


_PHONE_STEMS: Final = ("phone", "tel", "mobil", "m\u00f3vil", "fax", "handy", "whatsapp", "call me", "reach me", "cell")
_PHONES: Final = {
    stem: re.compile(
        rf"{stem}(?<![a-z]{stem}){more}(?:[ _-]?(?:number|nummer|no|nr|n\u00fam|num|line|n[\u00b0\u00ba]))?\.?[\"']?"
        rf"(?:\s?[:=#]| at| on| is| ist)?\s{{0,2}}[\"']?(\+?[0-9(][0-9 ().\-/]{{5,24}}+)"
    )
    for stem, more in {
        **dict.fromkeys(_PHONE_STEMS, ""),
        "tel": r"(?:efoonnummer|efon|efone|\u00e9fono|efono|\u00e9phone|ephone)?",
        "mobil": r"(?:e|telefon|nummer)?(?: phone)?",
        "cell": r"(?: ?phone|ulare)",
    }.items()
}
_V4: Final = re.compile(
    r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9]|-[0-9A-Za-z]|/[0-9]{1,2}(?![0-9A-Za-z]))"
)
_V6: Final = re.compile(r"[23][0-9a-f]{3}:[0-9a-f:]{3,34}+(?![a-z0-9_.])")
_PRIVATE: Final = ("10.", "127.", "192.168.", "0.")
_V6_LEADS: Final = re.compile(r"[a-z0-9_.:-]")
_VERSION: Final = re.compile(
    r"(?:[a-z]/|version|ver|release|build|v|firmware|revision)[\"']?\s{0,2}[:=]?\s{0,2}[\"']?$"
)
_ADDRESS: Final = re.compile(r"(?<![a-z])(?:ip|ipv4|addr|address|client|peer|host|remote|source|src|from)(?![a-z])")


def _addresses(text: _Folded) -> Iterator[_Where]:
    for match in _V4.finditer(text.text):
        if match.start() and _LEADS.match(text.text, match.start() - 1):
            continue
        if match[0].startswith(_PRIVATE):
            continue
        try:
            address = IPv4Address(match[0])
        except AddressValueError:
            continue
        if address.is_global and not address.is_multicast and not _is_version(text, match, address):
            yield Sensitive.IP_ADDRESS, match.start(), match.end()
    for match in _V6.finditer(text.lower) if ":" in text.text else ():
        said = match[0].rstrip(":")
        if match.start() and _V6_LEADS.match(text.lower, match.start() - 1):
            continue
        try:
            known = IPv6Address(said).is_global
        except AddressValueError:
            continue
        if known:
            yield Sensitive.IP_ADDRESS, match.start(), match.start() + len(said)


def _is_version(text: _Folded, match: re.Match[str], address: IPv4Address) -> bool:
    before = text.lower[max(0, match.start() - 24) : match.start()]
    if _VERSION.search(before):
        return True
    first = address.packed[0]
    small = first < 3 or (first < 20 and max(address.packed) < 100)  # an object identifier, a version
    return small and not _ADDRESS.search(before)


# -- hints of health data, each after a word alone

_MRN: Final = re.compile(
    r"(?:mrn(?<![a-z0-9]mrn)(?![a-z])|medical[ _-]record|patient[ _-]?(?=id|no|num|nr|#))"
    r"(?:[ _-]?(?:id|number|no|nr|num|#))?\.?[\"']?\s?[:=#]?\s{0,2}[\"']?([a-z]{0,4}-?[0-9][0-9a-z-]{4,14}+)"
)
_ICD: Final = re.compile(r"[a-tv-z](?<![a-z0-9_.].)[0-9][0-9a-z](?:\.[0-9a-z]{1,4})?(?![a-z0-9_])")
_ICD_WORDS: Final = re.compile(r"(?:icd-?10(?:-?cm)?|icd|diagnos[a-z]*|dx|diagn\u00f3stico)(?![a-z])")
_ICD_STEMS: Final = ("icd", "diagn", "dx")
_ICD_WITHIN: Final = 48
"""Characters after the word in which a code stands."""
_MBI: Final = re.compile(
    r"[1-9][ac-hjkmnp-rt-y][ac-hjkmnp-rt-y0-9][0-9](?<![a-z0-9_].{4})-?[ac-hjkmnp-rt-y][ac-hjkmnp-rt-y0-9][0-9]-?"
    r"[ac-hjkmnp-rt-y]{2}[0-9]{2}(?![a-z0-9_])"
)
_MBI_WORDS: Final = _word(r"mbi|medicare[a-z]*")


def _health(text: _Folded) -> Iterator[_Where]:
    lower = text.lower
    if "mrn" in lower or "medical" in lower or "patient" in lower:
        for match in _MRN.finditer(lower):
            if sum(map(str.isdigit, match[1])) >= 4:
                yield Sensitive.MEDICAL_RECORD, match.start(1), match.end(1)
    if "mbi" in lower or "medicare" in lower:
        for match in _MBI.finditer(lower):
            if text.near(_MBI_WORDS, match.start(), match.end()):
                yield Sensitive.US_MBI, match.start(), match.end()
    for stem in _ICD_STEMS:
        at = lower.find(stem)
        while at >= 0:
            word = _ICD_WORDS.match(lower, at)
            if word is not None and not (at and lower[at - 1].isalpha()):
                for match in _ICD.finditer(lower, word.end(), word.end() + _ICD_WITHIN):
                    yield Sensitive.ICD10, match.start(), match.end()
            at = lower.find(stem, at + len(stem))


_RULES: Final[tuple[Callable[[_Folded], Iterator[_Where]], ...]] = (
    _private_keys,
    *_FORMS,
    _ibans,
    _passports,
    _italian,
    _spanish,
    _numbers,
    _headers,
    _mails,
    _named_secrets,
    _health,
    _calls,
    _addresses,
)
"""What says more comes first."""
