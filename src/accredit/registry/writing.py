"""Values as YAML that means one thing to every reader: what `reading.py` makes of the text is the value again.

A text that any reader of YAML could take for something else, or that would not be shown as it is, stands in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

__all__ = ["manifest_yaml"]

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*")
_WORDS: Final = re.compile("y|yes|n|no|on|off|true|false|null|nan|inf", re.IGNORECASE)
"""What one version of YAML or another takes for something else than a text."""


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's
        return True


def _text(writer: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value)
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=None if bare else '"')


_Writer.add_representer(str, _text)


def manifest_yaml(documents: Iterable[Mapping[str, Any]], *, above: Iterable[str] = ()) -> str:
    """Documents as one YAML file, after some lines of comment."""
    comment = "".join(f"# {ascii(line)[1:-1]}\n" if line else "#\n" for line in above)
    return comment + "---\n".join(
        yaml.dump(_plain(one), Dumper=_Writer, sort_keys=False, allow_unicode=False, width=2**31) for one in documents
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
