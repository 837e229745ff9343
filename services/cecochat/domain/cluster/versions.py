"""Which of two versions of a central document is the later one. All writers and readers agree, in
whatever order they see the versions.

A higher number is later. A store that has lost a write can leave two contents under one number;
these are ordered by their digests.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from typing_extensions import override


class Rank(NamedTuple):
    """Where a content stands among all versions of its document. Ranks compare as tuples."""

    version: int
    digest: str

    @override
    def __str__(self) -> str:
        """Return the rank as messages name it."""
        return f"version {self.version} ({self.digest[:8]})"


class Claim(NamedTuple):
    """Which server takes a partition over, by which version of the assignment. Claims compare as
    tuples.

    If two contents of one version gave a partition to two servers, the one with the higher id gets
    it, so that they do not take turns.
    """

    version: int
    server_id: str


def rank(version: int, value: Any) -> Rank:
    """Return the rank of a content. The order of its keys does not matter."""
    return Rank(version, digest(value))


def digest(value: Any) -> str:
    """Return the SHA-256 of a content in hex, the same whatever the order of its keys. It is empty
    if the content is nested too deeply, which sorts before all others.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def missing(stored: Rank, latest: Rank, taken_over: int = 0) -> int | None:
    """Return the version under which the latest content that anybody remembers has to be stored
    again.

    `stored` is the rank of what the store has, `latest` that of the latest content, and
    `taken_over` the highest version by which a partition was taken over. Returns None if the store
    lacks nothing: what it has is the latest, and no higher version was ever used.
    """
    version = max(latest.version, stored.version + 1) if latest > stored else stored.version
    if 0 < version < taken_over:
        version = taken_over + 1
    return version if version > stored.version else None
