"""Central, dynamic configuration: versioned JSON documents that everybody follows while running."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, NamedTuple

from cecochat.domain.cluster.versions import Rank, rank
from cecochat.domain.errors import Conflict

CONFIGURATION: Final = "configuration"
ASSIGNMENT: Final = "assignment"
REVOCATIONS: Final = "revocations"


class Document(NamedTuple):
    """One version of a document. `version` counts from 1; version 0 with an empty value: never
    written.
    """

    name: str
    version: int
    value: Mapping[str, Any]
    changed_at_ms: int
    changed_by: str

    @property
    def rank(self) -> Rank:
        """Where it stands among the versions of this document: who follows it goes by that."""
        return rank(self.version, self.value)


class Configuration(ABC):
    """Documents changed by compare-and-set. It keeps bytes; what is valid is judged by writers and
    by readers. Every call raises `Unavailable`, within seconds, while the store does not answer.
    """

    system: str  # as the semantic conventions name the store

    @abstractmethod
    async def get(self, name: str) -> Document:
        """The current version."""

    @abstractmethod
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        """Make `value` version `expected + 1`, durably, and announce it. Raises `Conflict` if
        another was faster.
        """

    async def change(
        self, name: str, decide: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, by: str
    ) -> Document:
        """Put what `decide` makes of the current value, decided again as often as another was
        faster. Raises what `decide` raises.
        """
        while True:
            current = await self.get(name)
            value = decide(current.value)
            try:
                return await self.put(name, value, expected=current.version, by=by)
            except Conflict:
                continue

    @abstractmethod
    async def restore(self, document: Document) -> bool:
        """Store a document again, as the version that it is, where the store holds a lower one: it
        was lost and came back empty or old. Announces it; whether it was stored.
        """

    @abstractmethod
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        """Earlier versions and the current one, newest first; at least the last 100 are kept."""

    @abstractmethod
    def watch(self, name: str) -> AsyncGenerator[Document]:
        """The current version at once, then each other one that the store holds; versions may be
        skipped, never repeated.

        They turn back only where the store has lost its data. Who follows keeps what it has then,
        by `Document.rank`.

        A change is seen within 2 s, also one made by another process, also if an announcement is
        lost.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything. Idempotent."""
