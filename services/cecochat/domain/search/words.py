"""Divides texts into the words by which they are found, and reads what somebody looks for.

The same letters count as equal: upper and lower case, with and without accents, full width and half
width. So texts and queries are folded alike (NFKD and case folding, Unicode Standard Annex #15 and
section 5.18).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from cecochat.domain.errors import Invalid

QUERY_MAX: Final = 256
"""The longest query, in characters."""
PREFIX_MIN: Final = 2
"""How long the last word has to be to stand for longer ones that begin with it."""
ACCENTS_FROM: Final = 10
"""Combining classes from here on are accents, Hebrew points, Arabic vowels and tones. Lower ones
are parts of letters, such as the voiced sound mark of Japanese.
"""
VARIATIONS: Final = range(0xFE00, 0xFE10)  # they choose how a symbol looks

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile("am*|w[wm]*")  # of kinds of characters
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese: each letter is a word, and found as one."""


class Query(NamedTuple):
    """What is looked for: a text has to have all of these."""

    phrases: tuple[tuple[str, ...], ...]  # words that follow each other
    is_open: bool  # the last word may be the beginning of a longer one


def words(text: str) -> list[str]:
    """Return the words of a text, in their order, as they are compared."""
    folded = text.casefold()
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    return list(_words(_without_accents(folded)))


def query(text: str) -> Query:
    """Return what somebody looks for. Raises `Refusal` (invalid_argument)."""
    if len(text) > QUERY_MAX:
        raise Invalid(f"the text has {len(text)} characters: look for at most {QUERY_MAX}")
    phrases = tuple(tuple(found) for part in text.split() if (found := words(part)))
    if not phrases:
        raise Invalid(f"{text!r:.80} has no word to look for: give letters or digits")
    return Query(phrases, is_open=len(phrases[-1][-1]) >= PREFIX_MIN)


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    kept = (each for each in letters if unicodedata.combining(each) < ACCENTS_FROM)
    return unicodedata.normalize("NFC", "".join(kept)).casefold()


def _words(text: str) -> Iterator[str]:
    kinds = "".join(map(_kind, text))
    return (text[found.start() : found.end()] for found in _WORD.finditer(kinds))


@lru_cache(4_096)
def _kind(letter: str) -> str:
    """Return what a character is: part of a word (w), a word by itself (a), a mark on what is
    before it (m), or none of these.
    """
    category = unicodedata.category(letter)
    if category[0] == "M" and ord(letter) not in VARIATIONS:
        return "m"
    if category == "So" or _WITHOUT_SPACES.match(letter):
        return "a"
    return "w" if letter.isalnum() else " "
