"""Central configuration: versioned JSON documents that all servers follow while they run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, NamedTuple

from cecochat.domain.cluster.versions import Rank, rank
from cecochat.domain.errors import Conflict

CONFIGURATION: Final = "configuration"
ASSIGNMENT: Final = "assignment"
REVOCATIONS: Final = "revocations"
HOOKS: Final = "hooks"
RETENTION: Final = "retention"
MODERATION: Final = "moderation"
HOLDS: Final = "holds"
APPS: Final = "apps"


class Document(NamedTuple):
    """One version of a document. Versions count from 1; a document that was never written has
    version 0 and an empty value.
    """

    name: str
    version: int
    value: Mapping[str, Any]
    changed_at_ms: int
    changed_by: str

    @property
    def rank(self) -> Rank:
        """Where this version stands among all versions of the document. Followers compare this."""
        return rank(self.version, self.value)


class Configuration(ABC):
    """Documents that are changed by compare-and-set. The store does not validate them: writers and
    readers do. Every call raises `Unavailable` within seconds if the store does not answer.
    """

    system: str  # the name of the store in OpenTelemetry's semantic conventions

    @abstractmethod
    async def get(self, name: str) -> Document:
        """Return the current version."""

    @abstractmethod
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        """Store `value` durably as version `expected + 1`, and announce it. `by` says who changes
        it. Raises `Conflict` if the current version is not `expected`.
        """

    async def change(
        self, name: str, decide: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, by: str
    ) -> Document:
        """Put what `decide` returns for the current value. If another writer was faster, decide
        again. Raises what `decide` raises.
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
        """Store a document again under its own version if the store has a lower one, because it
        lost its data and came back empty or old. Announces it. Returns whether it was stored.
        """

    @abstractmethod
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        """Return the last `limit` versions, newest first. At least the last 100 are kept."""

    @abstractmethod
    def watch(self, name: str) -> AsyncGenerator[Document]:
        """Yield the current version at once, then each new one. Versions may be skipped, but are
        never repeated.

        Versions go back only if the store has lost its data. A follower then keeps what it has, by
        comparing `Document.rank`.

        Every change is seen within 2 s, even if another process makes it or its announcement is
        lost.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the store and end all watches. It may be called again."""
