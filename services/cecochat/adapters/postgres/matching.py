"""How words, phrases and scopes are told to PostgreSQL.

A `tsvector` has the words of a text and its scopes, each once. It is made from our own words, so
no dictionary of PostgreSQL changes them. Whether the words of a phrase follow each other is looked
up in the text, among what has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from cecochat.domain.search.entries import Text, scopes
from cecochat.domain.search.words import Query

SCOPE_BYTES: Final = 8  # of a hash
LEXEME_MAX: Final = 400
"""In characters; PostgreSQL takes 2,046 bytes. Of longer words, the beginning is looked up."""


def lexemes(text: Text) -> str:
    """Return what a text is found by, with spaces between them."""
    return " ".join((*map(_scope, scopes(text.chat_id)), *map(_cut, text.words.split(" "))))


def tsquery(query: Query, within: Iterable[str]) -> str:
    """Return a query in the language of PostgreSQL: one of the scopes, and all of the words. No
    word has a quote in it.
    """
    words = [f"'{_cut(word)}'" for phrase in query.phrases for word in phrase]
    if query.is_open:
        words[-1] += ":*"
    within = " | ".join(f"'{_scope(scope)}'" for scope in within)
    return f"({within}) & {' & '.join(words)}"


def phrases(query: Query) -> list[str]:
    """Return what has to be in ' text ' besides, as it stands: what the words do not say alone."""
    ends = [" "] * len(query.phrases)
    if query.is_open:
        ends[-1] = ""
    pairs = zip(query.phrases, ends, strict=True)
    return [f" {' '.join(phrase)}{end}" for phrase, end in pairs if _says_more(phrase)]


def _says_more(phrase: Sequence[str]) -> bool:
    return len(phrase) > 1 or len(phrase[0]) > LEXEME_MAX


def _cut(word: str) -> str:
    return word[:LEXEME_MAX]


def _scope(scope: str) -> str:
    """Return the scope as a lexeme, which no word is, since it begins with a colon."""
    return f":{blake2b(scope.encode(), digest_size=SCOPE_BYTES).hexdigest()}"
