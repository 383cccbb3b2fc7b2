"""The labelled corpus of the detector: texts with one value each, and texts with none. All of it is made up.

Seeded, so that it is the same everywhere. Numbers are valid by their checksum alone and were issued to nobody; the
checksums are computed here in another way than by the detector. `corpus/hard.jsonl` has cases written by hand.
"""

from __future__ import annotations

import base64
import json
import string
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random  # noqa: TID251 - seeded
from typing import Final

from accredit.kernel.detector import Sensitive

__all__ = ["CHECKED", "Labelled", "clean", "hits", "spoiled", "value_of"]

UPPER, DIGITS = string.ascii_uppercase, string.digits
BASE62 = DIGITS + UPPER + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with one value of a kind in it."""

    kind: Sensitive
    value: str
    text: str


def _some(rnd: Random, letters: str, size: int) -> str:
    return "".join(rnd.choices(letters, k=size))


def _closed(head: str, tail: str, sound: Callable[[str], bool], letters: str = DIGITS) -> str | None:
    """The one value between head and tail that makes it sound: found by trying, not by a formula."""
    return next((head + each + tail for each in letters if sound(head + each + tail)), None)


def _luhn(value: str) -> bool:
    total = 0
    for at, digit in enumerate(reversed(value)):
        doubled = int(digit) * (1 + at % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _card(rnd: Random) -> str:
    head, size = rnd.choice(
        [
            ("4", 16),
            (str(rnd.randint(51, 55)), 16),
            (str(rnd.randint(2221, 2720)), 16),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("36", 14),
            (str(rnd.randint(3528, 3589)), 16),
            ("4", 19),
        ]
    )
    found = _closed(head + _some(rnd, DIGITS, size - len(head) - 1), "", _luhn)
    assert found is not None
    if size == 16 and rnd.random() < 0.6:
        return rnd.choice([" ", "-"]).join(found[at : at + 4] for at in range(0, 16, 4))
    if size == 15 and rnd.random() < 0.6:
        return f"{found[:4]} {found[4:10]} {found[10:]}"
    return found


def _iban_sound(value: str) -> bool:
    rest = 0
    for character in value[4:] + value[:4]:
        for digit in str(int(character, 36)):
            rest = (rest * 10 + int(digit)) % 97
    return rest == 1


def _iban(rnd: Random) -> str:
    country, form = rnd.choice(
        [
            ("DE", "n" * 18),
            ("GB", "aaaa" + "n" * 14),
            ("FR", "n" * 10 + "c" * 11 + "nn"),
            ("NL", "aaaa" + "n" * 10),
            ("ES", "n" * 20),
            ("IT", "a" + "n" * 22),
            ("PL", "n" * 24),
            ("NO", "n" * 11),
            ("CH", "n" * 5 + "c" * 12),
            ("MT", "aaaa" + "n" * 5 + "c" * 18),
            ("BE", "n" * 12),
            ("SE", "n" * 20),
        ]
    )
    sorts = {"n": DIGITS, "a": UPPER, "c": DIGITS + UPPER}
    rest = "".join(rnd.choice(sorts[sort]) for sort in form)
    found = next(value for check in range(2, 99) if _iban_sound(value := f"{country}{check:02}{rest}"))
    if rnd.random() < 0.5:
        return " ".join(found[at : at + 4] for at in range(0, len(found), 4))
    return found.lower() if rnd.random() < 0.15 else found


def _weighed(value: str, weights: tuple[int, ...], modulus: int) -> int:
    return sum(int(digit) * weight for digit, weight in zip(value, weights, strict=True)) % modulus


def _trying(rnd: Random, size: int, sound: Callable[[str], bool], first: str = DIGITS) -> str:
    while True:
        found = _closed(rnd.choice(first) + _some(rnd, DIGITS, size - 2), "", sound)
        if found is not None:
            return found


def _nhs(rnd: Random) -> str:
    found = _trying(rnd, 10, lambda value: _weighed(value, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11) == 0, "4679")
    return rnd.choice([found, f"{found[:3]} {found[3:6]} {found[6:]}", f"{found[:3]}-{found[3:6]}-{found[6:]}"])


def _german_sound(value: str) -> bool:
    product = 10
    for digit in value[:-1]:
        total = (int(digit) + product) % 10
        product = 2 * (total or 10) % 11
    return (11 - product) % 10 == int(value[-1])


def _german(rnd: Random) -> str:
    while True:
        digits = rnd.sample(DIGITS, 9)
        digits.insert(rnd.randint(0, 9), rnd.choice(digits))
        found = None if digits[0] == "0" else _closed("".join(digits), "", _german_sound)
        if found is not None:
            return rnd.choice([found, f"{found[:2]} {found[2:5]} {found[5:8]} {found[8:]}"])


def _dutch(rnd: Random) -> str:
    found = _trying(rnd, 9, lambda value: _weighed(value, (9, 8, 7, 6, 5, 4, 3, 2, 10), 11) == 0)
    return rnd.choice([found, f"{found[:4]}.{found[4:6]}.{found[6:]}", found])


def _spanish(rnd: Random) -> str:
    number, letters = rnd.randrange(10**7, 10**8), "TRWAGMYFPDXBNJZSQVHLCKE"
    if rnd.random() < 0.4:
        number %= 30_000_000
        return f"{'XYZ'[number // 10**7]}{number % 10**7:07}{rnd.choice(['', '-'])}{letters[number % 23]}"
    dotted = f"{number // 10**6}.{number // 1000 % 1000:03}.{number % 1000:03}-{letters[number % 23]}"
    return rnd.choice([f"{number}{letters[number % 23]}", f"{number}-{letters[number % 23]}", dotted])


_ITALIAN_ODD = "BAKPLCQDREVOSFTGUHMINJWZYX"


def _italian_sound(value: str) -> bool:
    total = 0
    for at, character in enumerate(value[:15]):
        index = int(character) if character.isdigit() else ord(character) - 65
        total += index if at % 2 else _ITALIAN_ODD.index(UPPER[index])
    return UPPER[total % 26] == value[15]


def _italian(rnd: Random) -> str:
    day = rnd.randint(1, 28) + rnd.choice([0, 40])
    head = f"{_some(rnd, 'BCDFGLMNPRST', 6)}{rnd.randrange(100):02}{rnd.choice('ABCDEHLMPRST')}{day:02}"
    found = _closed(f"{head}{rnd.choice('ABCDEFGHIL')}{rnd.randrange(1000):03}", "", _italian_sound, UPPER)
    assert found is not None
    return found.lower() if rnd.random() < 0.15 else found


def _french(rnd: Random) -> str:
    head = f"{rnd.choice('12')}{rnd.randrange(100):02}{rnd.randint(1, 12):02}{rnd.randint(1, 95):02}"
    head += f"{rnd.randrange(1000):03}{rnd.randint(1, 999):03}"
    key = next(key for key in range(1, 98) if (int(head) + key) % 97 == 0)
    spaced = f"{head[0]} {head[1:3]} {head[3:5]} {head[5:7]} {head[7:10]} {head[10:]} {key:02}"
    return rnd.choice([f"{head}{key:02}", f"{head} {key:02}", spaced])


def _polish(rnd: Random) -> str:
    month = rnd.randint(1, 12) + rnd.choice([0, 20])
    head = f"{rnd.randrange(100):02}{month:02}{rnd.randint(1, 28):02}{rnd.randrange(10_000):04}"
    found = _closed(head, "", lambda value: _weighed(value, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0)
    assert found is not None
    return found


def _brazilian_sound(value: str) -> bool:
    def digit(part: str) -> int:
        rest = sum(int(each) * (len(part) + 1 - at) for at, each in enumerate(part)) % 11
        return 0 if rest < 2 else 11 - rest

    return int(value[9]) == digit(value[:9]) and int(value[10]) == digit(value[:10])


def _brazilian(rnd: Random) -> str:
    head = _some(rnd, DIGITS, 9)
    found = next(value for end in range(100) if _brazilian_sound(value := f"{head}{end:02}"))
    return rnd.choice([found, f"{found[:3]}.{found[3:6]}.{found[6:9]}-{found[9:]}"])


def _mrz(value: str) -> str:
    weights, total = [7, 3, 1], 0
    for character in value:
        total += weights[0] * ("<" + DIGITS + UPPER).index(character) - weights[0] * (character != "<")
        weights.append(weights.pop(0))
    return str(total % 10)


def _passport(rnd: Random) -> str:
    number = _some(rnd, UPPER, rnd.randint(1, 2)) + _some(rnd, DIGITS, 7)
    number, birth = f"{number:<<9}"[:9], f"{rnd.randrange(100):02}{rnd.randint(1, 12):02}{rnd.randint(1, 28):02}"
    expiry = f"{rnd.randint(26, 36)}{rnd.randint(1, 12):02}{rnd.randint(1, 28):02}"
    personal = f"{_some(rnd, DIGITS, rnd.choice([0, 8, 14])):<<14}"
    one, two, three, four = number + _mrz(number), birth + _mrz(birth), expiry + _mrz(expiry), personal + _mrz(personal)
    country, sex = rnd.choice(["UTO", "D<<", "GBR", "USA", "FRA"]), rnd.choice("MF<")
    return f"{one}{country}{two}{sex}{three}{four}{_mrz(one + two + three + four)}"


def _github(rnd: Random) -> str:
    drawn, number, tail = _some(rnd, BASE62, 30), 0, ""
    number = zlib.crc32(drawn.encode())
    while number:
        tail = BASE62[number % 62] + tail
        number //= 62
    return f"gh{rnd.choice('pousr')}_{drawn}{tail.rjust(6, '0')}"


CHECKED: Final[dict[Sensitive, Callable[[Random], str]]] = {
    Sensitive.CARD: _card,
    Sensitive.IBAN: _iban,
    Sensitive.UK_NHS: _nhs,
    Sensitive.DE_TAX_ID: _german,
    Sensitive.NL_BSN: _dutch,
    Sensitive.ES_DNI: _spanish,
    Sensitive.IT_CODICE_FISCALE: _italian,
    Sensitive.FR_NIR: _french,
    Sensitive.PL_PESEL: _polish,
    Sensitive.BR_CPF: _brazilian,
    Sensitive.PASSPORT: _passport,
    Sensitive.GITHUB_TOKEN: _github,
}
"""Every kind with a check digit."""
_WORDS: Final = {
    Sensitive.CARD: ("card number", "Kreditkarte", "pan"),
    Sensitive.IBAN: ("IBAN", "Konto", "account"),
    Sensitive.UK_NHS: ("NHS number", "nhs_no", "NHS"),
    Sensitive.DE_TAX_ID: ("Steuer-ID", "tax_id", "IdNr"),
    Sensitive.NL_BSN: ("BSN", "bsn", "burgerservicenummer"),
    Sensitive.ES_DNI: ("DNI", "NIE", "documento"),
    Sensitive.IT_CODICE_FISCALE: ("codice fiscale", "CF", "codice_fiscale"),
    Sensitive.FR_NIR: ("NIR", "numéro de sécurité sociale", "secu"),
    Sensitive.PL_PESEL: ("PESEL", "pesel", "nr PESEL"),
    Sensitive.BR_CPF: ("CPF", "cpf", "CPF nº"),
    Sensitive.PASSPORT: ("passport", "MRZ", "mrz"),
    Sensitive.GITHUB_TOKEN: ("token", "GITHUB_TOKEN", "auth"),
}
_NOT_SECRET: Final[dict[Sensitive, tuple[str, ...]]] = {
    kind: words for kind, words in _WORDS.items() if kind is not Sensitive.GITHUB_TOKEN
}
"""Words that make no secret of whatever follows them."""
_FRAMES: Final = (
    "Dear team, the {word} of the customer is {value}, please update the file.",
    "{word}: {value}",
    "{word}\t{value}\tok",
    '{{"id": 17, "{word}": "{value}", "created": "2026-11-26T10:00:00Z"}}',
    "id: 17\n{word}: {value}\nactive: true\n",
    "id;{word};name\n17;{value};Kim",
    'id,{word},note\n17,"{value}","paid 12.50 on 2026-11-26"',
    "Please check ({word} {value}).",
    "<td>{word}</td><td>{value}</td>",
    "{word} = '{value}' # from the form",
    "Call of 26.11.2026, 14:05\n- {word} {value}\n- asked for a copy\n",
    '{{"content": "{{\\"{word}\\": \\"{value}\\"}}"}}',
    "a,{word}\\n1,{value}\\n",
    "2026-11-26 10:00:01 INFO form saved {word}={value} ms=12",
)


def value_of(kind: Sensitive, rnd: Random) -> str:
    """A valid value of a kind with a check digit, in one of its ways to be written."""
    return CHECKED[kind](rnd)


def word_of(kind: Sensitive) -> str:
    """A word that says what it is."""
    return _WORDS[kind][0]


def spoiled(value: str, rnd: Random) -> str:
    """The value with one character of its last four digits or letters changed for another of its sort."""
    places = [at for at, character in enumerate(value) if character.isalnum()][-4:]
    at = rnd.choice(places)
    sort = DIGITS if value[at].isdigit() else UPPER if value[at].isupper() else string.ascii_lowercase
    return value[:at] + rnd.choice(sort.replace(value[at], "")) + value[at + 1 :]


def hits() -> Iterator[Labelled]:
    """Texts with one value each: every kind with a check digit in every frame and with each of its words."""
    rnd = Random(20261126)
    for kind, make in CHECKED.items():
        for frame in _FRAMES:
            for word in _WORDS[kind]:
                for _ in range(3):
                    value = make(rnd)
                    yield Labelled(kind, value, frame.format(word=word, value=value))


# -- what is clean


def clean(count: int) -> Iterator[str]:
    """Documents without a secret or a person in them, some of which look as if."""
    rnd = Random(4711)
    for number in range(count):
        yield _CLEAN[number % len(_CLEAN)](rnd)


def _lines(line: Callable[[Random], str], most: int = 12) -> Callable[[Random], str]:
    return lambda rnd: "\n".join(line(rnd) for _ in range(rnd.randint(3, most)))


_VOCABULARY: Final = (
        "the", "order", "was", "shipped", "from", "our", "warehouse", "and", "will", "reach", "you", "within",
        "three", "working", "days", "if", "weather", "permits", "service", "ticket", "reset", "password", "link",
        "token", "bucket", "limit", "secret", "santa", "card", "board", "phone", "booth", "account", "manager",
        "account", "type", "patient", "waiting", "medical", "advice", "diagnosis", "of", "the", "network", "tax",
        "season", "social", "media", "security", "review", "passport", "office",
)  # fmt: skip


def _prose(rnd: Random) -> str:
    words = rnd.choices(_VOCABULARY, k=rnd.randint(30, 160))
    for at in range(0, len(words), 11):
        words[at] = rnd.choice(
            [f"{rnd.randrange(10_000)}", f"EUR {rnd.randrange(10_000)}.{rnd.randrange(100):02}", "SKU-88"]
        )
    return " ".join(words).capitalize() + "."


def _hex(rnd: Random, size: int) -> str:
    return _some(rnd, "0123456789abcdef", size)


def _uuid(rnd: Random) -> str:
    return "-".join(_hex(rnd, size) for size in (8, 4, 4, 4, 12))


def _log(rnd: Random) -> str:
    return (
        f"2026-11-{rnd.randint(1, 30):02}T{rnd.randrange(24):02}:{rnd.randrange(60):02}:{rnd.randrange(60):02}."
        f"{rnd.randrange(10**6):06}Z {rnd.choice(['INFO', 'WARN'])} [worker-{rnd.randrange(99)}]"
        f" {rnd.choice(['GET', 'POST'])}"
        f" /v1/orders/{rnd.randrange(10**8)} {rnd.choice([200, 404])} {rnd.randrange(900)}ms"
        f" peer=10.0.{rnd.randrange(255)}.7"
        f" trace={_hex(rnd, 32)} bytes={rnd.randrange(10**7)}"
    )


def _json_rows(rnd: Random) -> str:
    rows = [
        {
            "id": rnd.randrange(10**9),
            "uuid": _uuid(rnd),
            "price": rnd.random() * 1000,
            "score": rnd.random(),
            "ts": 1_764_175_274_000 + rnd.randrange(10**9),
            "ns": 1_764_175_274_000_000_000 + rnd.randrange(10**15),
            "sku": f"{_some(rnd, UPPER, 3)}-{_some(rnd, DIGITS, 6)}",
            "tokens": rnd.randrange(9000),
            "ok": True,
            "position": [rnd.uniform(-180, 180), rnd.uniform(-90, 90)],
            "phone_verified": True,
            "card_type": "visa",
        }
        for _ in range(rnd.randint(2, 8))
    ]
    return json.dumps(rows, indent=rnd.choice([None, 2]))


def _unsound(kind: Sensitive) -> Callable[[Random], str]:
    def line(rnd: Random) -> str:
        value = spoiled(CHECKED[kind](rnd), rnd)
        return rnd.choice(_FRAMES).format(
            word=rnd.choice(["reference", "value", *_NOT_SECRET.get(kind, ())]), value=value
        )

    return line


_CODE = (
    "password = os.environ['DB_PASSWORD']",
    "password: str | None = None",
    "def login(user: str, password: str) -> Token:",
    "token = request.headers.get('authorization')",
    'api_key = "${API_KEY}"',
    "secret: {{ .Values.secret }}",
    "API_KEY=<your-api-key>",
    "password=********",
    "token = self._tokens.pop(0)",
    "if token is None: raise Denied",
    "MAX_TOKENS = 4096",
    'PASSWORD_FIELD = "password"',
    "client_secret: !vault |",
    "pwd = Path.cwd()",
    "from accredit.kernel.detector import Detector",
    "@pytest.mark.parametrize('value', range(12))",
    "git clone git@github.com:acme/tools.git",
    "npm install @types/node@20.11.5 lodash@4.17.21",
    "const re = /^sk-[a-z]+$/;",
    "img src='icon@2x.png'",
    "if text.startswith('-----BEGIN PRIVATE KEY-----'):",
    "systemctl restart getty@tty1.service",
    "for i in range(100000000): total += i * 0.30000000000000004",
    "const BEARER = 'Bearer ' + token;",
    "std::vector<std::pair<int, int>> v(10);",
    "assert sum == 1234567890",
    "echo $(date +%s) > /tmp/stamp",
    "docker run -p 8080:80 nginx:1.25.3",
    "SELECT id, email, phone FROM users LIMIT 10;",
    "password_changed_at: 2026-11-26T10:00:00Z",
    "secret_version: projects/12/secrets/db/versions/3",
    "x = a[1:2:3]",
    "refresh_token_ttl = 86400",
    "http://localhost:8080/api?token=$TOKEN",
    "postgres://app:${PW}@db/app",
    "tel = telemetry.get(1234567)",
    "Authorization: Bearer <token>",
    "iphone 15 128 256 512",
    "color: #12345678",
)


def _version(rnd: Random) -> str:
    return rnd.choice(
        [
            f"release {rnd.randrange(9)}.{rnd.randrange(20)}.{rnd.randrange(99)}",
            f"version 1.{rnd.randrange(20)}.0.{rnd.randrange(99)}",
            f"Chrome/120.0.{rnd.randrange(9999)}.{rnd.randrange(300)} Safari/537.36",
            f"commit {_hex(rnd, 40)}",
            f"fix {_hex(rnd, 7)}",
            f"sha256:{_hex(rnd, 64)}",
            f'etag W/"{_hex(rnd, 16)}"',
            f"build 20261126.{rnd.randrange(99)}",
            f"md5 {_hex(rnd, 32)}",
            f"Firefox/1.5.0.{rnd.randrange(12)}",
            f"== v2.{rnd.randrange(9)}.{rnd.randrange(9)}.{rnd.randrange(9)} ==",
            f"etag {_hex(rnd, 9)}",
        ]
    )


def _order(rnd: Random) -> str:
    return rnd.choice(
        [
            f"Order {_some(rnd, DIGITS, rnd.randint(6, 12))}",
            f"Order no. {rnd.randrange(10**4):04}-{rnd.randrange(10**6):06}",
            f"Invoice INV-2026-{rnd.randrange(10**6):06}",
            f"Tracking 1Z{_some(rnd, UPPER + DIGITS, 16)}",
            f"EAN {_some(rnd, DIGITS, 13)}",
            f"ISBN 978-3-{rnd.randrange(10**5):05}-{rnd.randrange(10**3):03}-{rnd.randrange(10)}",
            f"Serial {_some(rnd, UPPER + DIGITS, 12)}",
            f"Lot {rnd.randrange(10**8)}/{rnd.randrange(99)}",
            f"USD {rnd.randrange(10**6):,}.{rnd.randrange(100):02}",
            f"{rnd.random():.16f}",
            f"snowflake {1_200_000_000_000_000_000 + rnd.randrange(10**18)}",
            f"due 2026-{rnd.randint(1, 12):02}-{rnd.randint(1, 28):02}",
            f"micros {1_764_175_274_000_000 + rnd.randrange(10**12)}",
            f"weight {rnd.randrange(999)} x {rnd.randrange(999)} mm",
            _uuid(rnd),
            f"{rnd.randrange(100, 999)} {rnd.randrange(100, 999)} {rnd.randrange(100, 999)}",
            f"#{rnd.randrange(10**6)} {_hex(rnd, 12)}",
        ]
    )


def _table(rnd: Random) -> str:
    return "\n".join(
        sep.join(str(rnd.randrange(10 ** rnd.randint(1, 6))) for _ in range(8))
        for sep in rnd.choices([" ", ",", "\t", " | "], k=6)
    )


def _picture(rnd: Random) -> str:
    return f"data:image/png;base64,{base64.b64encode(rnd.randbytes(rnd.randint(600, 4000))).decode()}"


_CLEAN: Final[tuple[Callable[[Random], str], ...]] = (
    _prose,
    _lines(_log),
    _json_rows,
    _lines(_order),
    _lines(_version),
    _lines(_uuid),
    _picture,
    _table,
    _lines(lambda rnd: rnd.choice(_CODE)),
    *(_lines(_unsound(kind), 3) for kind in CHECKED),
    _lines(lambda rnd: f"{_some(rnd, DIGITS, rnd.randint(6, 20))}", 3),
    _prose,
    _lines(_log),
    _lines(_order),
)
