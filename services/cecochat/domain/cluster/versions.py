"""Which of two versions of a central document is the later one: the same answer for everybody who
asks, writer or reader, in whatever order they meet the versions.

A higher number is later. Two contents under one number, which a store that has lost a write can
leave behind, are ordered by their digests.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from typing_extensions import override


class Rank(NamedTuple):
    """Where one content stands among all versions of its document; compared as a tuple."""

    version: int
    digest: str

    @override
    def __str__(self) -> str:
        """As messages name it."""
        return f"version {self.version} ({self.digest[:8]})"


class Claim(NamedTuple):
    """By which version of the assignment which server takes a partition over; compared as a tuple.

    Where two servers were given a partition by two contents of one version, the higher name has it,
    so that they do not take turns.
    """

    version: int
    server_id: str


def rank(version: int, value: Any) -> Rank:
    """Of one content, whatever the order of its keys."""
    return Rank(version, digest(value))


def digest(value: Any) -> str:
    """The same for two documents that say the same. What is nested too deeply comes before all."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def missing(stored: Rank, known: Rank, taken_over: int = 0) -> int | None:
    """The version under which a store has to be given the latest content that anybody remembers,
    whose rank is `known`. None: what it has stored is as late, and no partition was ever taken over
    by a version higher than that, of which `taken_over` is the highest.
    """
    version = max(known.version, stored.version + 1) if known > stored else stored.version
    if 0 < version < taken_over:
        version = taken_over + 1
    return version if version > stored.version else None
