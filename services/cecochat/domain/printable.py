"""Makes foreign text safe to print: without characters that control a terminal or disguise text.

These are the characters that Unicode calls controls (C0, DEL, C1), formats (bidirectional overrides
and isolates, invisible characters) and line separators, and those that are not assigned.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import Any

JOINER = "\N{ZERO WIDTH JOINER}"  # joins several emoji into one
SKINS = [chr(0x1F3FB + tone) for tone in range(5)]
FLAGS = [chr(0x1F1E6 + letter) for letter in range(26)]  # two letters are one flag
LINES = "\n\t"


def printable(text: str) -> str:
    """Return the text for a person: each unsafe character is replaced; line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in LINES or _is_safe(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def beginning(text: str, length: int) -> str:
    """Return at most so many characters of a text. It does not cut what is one sign for a person,
    such as an emoji that several make up (nearly UAX 29, which Python does not have).
    """
    end = length
    while 0 < end < len(text) and _is_within_a_sign(text, end):
        end -= 1
    return text[: end or length]


def _is_within_a_sign(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if after in FLAGS:
        letters = len(text[:at]) - len(text[:at].rstrip("".join(FLAGS)))
        return letters % 2 == 1
    is_mark = unicodedata.category(after).startswith("M")  # variation selectors, too
    return is_mark or after in SKINS or JOINER in (before, after)


def as_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return the value as JSON on one line, for a program: each unsafe character is escaped, so
    that nothing is lost.
    """
    text = json.dumps(value, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    return "".join(c if _is_safe(c) else _escaped(c) for c in text)


def _is_safe(character: str) -> bool:
    return character.isprintable() or character == JOINER


def _escaped(character: str) -> str:
    """Return the character as JSON escapes it (RFC 8259, section 7)."""
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"
