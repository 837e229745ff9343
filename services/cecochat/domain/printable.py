"""Text of others without what would steer a terminal, or show something else than what it is.

That is what Unicode calls controls (C0, DEL, C1), formats (bidirectional overrides and isolates,
invisible characters), line separators, and what is not assigned.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

JOINER = "\N{ZERO WIDTH JOINER}"  # it makes one emoji of several
LINES = "\n\t"


def printable(text: str) -> str:
    """For a person: each such character is replaced; line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in LINES or _is_safe(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """For a program, on one line: each such character is escaped, so that nothing is lost."""
    text = json.dumps(value, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    return "".join(c if _is_safe(c) else _escaped(c) for c in text)


def _is_safe(character: str) -> bool:
    return character.isprintable() or character == JOINER


def _escaped(character: str) -> str:
    """As JSON writes it (RFC 8259, 7); outside of strings its text is ASCII."""
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"
