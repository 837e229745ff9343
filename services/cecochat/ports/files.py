"""The store of the files that messages carry. Bytes go straight to and from it, by signed URLs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from hashlib import sha256
from typing import NamedTuple

from cecochat.domain.log.ids import UserId
from cecochat.v1.events_pb2 import Attachment

OWNER_DIGITS = 32
PIECE_BYTES = 256 << 10


class Key(NamedTuple):
    """Where a file is: the digest of its user's id, so that all files of one user are together and
    any id can be a name, and the id of the attachment.
    """

    owner: str
    id: str


def owner_of(user_id: UserId) -> str:
    """Return the part of a key that stands for a user."""
    return sha256(user_id.encode()).hexdigest()[:OWNER_DIGITS]


def key_of(user_id: UserId, attachment_id: str) -> Key:
    """Return the key of an attachment of a user, whose id was checked."""
    return Key(owner_of(user_id), attachment_id)


class Upload(NamedTuple):
    """A request that puts a file into the store: PUT, with these headers."""

    url: str
    headers: Mapping[str, str]


class Noted(NamedTuple):
    """A file that has to be looked at again, and since when it is noted, in ms since 1970."""

    at_ms: int
    key: Key


class Files(ABC):
    """A store of files. URLs are absolute, or relative to the address of a connect server, which
    then serves them. Every call raises `Unavailable` within seconds if the store does not answer.
    """

    origin: str = ""
    """Of its absolute URLs, such as https://files.example.com; empty: its URLs are relative."""

    @abstractmethod
    async def upload(self, key: Key, described: Attachment, for_s: int) -> Upload:
        """Return how to put this file there within so many seconds. The store takes nothing of
        another size or type, and puts nothing there unless all of it has come with the right hash.
        """

    @abstractmethod
    async def download(self, key: Key, described: Attachment, for_s: int) -> str:
        """Return a URL that gives the file for so many seconds, as an attachment with its name and
        its media type. It need not be there.
        """

    @abstractmethod
    async def size(self, key: Key) -> int | None:
        """Return how many bytes a file has; None: it is not there."""

    @abstractmethod
    async def read(self, key: Key) -> AsyncGenerator[bytes] | None:
        """Return the bytes of a file, in pieces of at most `PIECE_BYTES`; None: it is not there.
        The generator raises `Unavailable`, too; close it if it is not read to its end.
        """

    @abstractmethod
    async def delete(self, keys: Collection[Key]) -> None:
        """Delete files, if they are there. URLs that were signed before can bring one back."""

    @abstractmethod
    async def of(self, owner: str) -> list[Key]:
        """Return all files of one user."""

    @abstractmethod
    async def note(self, partition: int, noted: Collection[Noted]) -> None:
        """Note files of a partition to be looked at again. It lasts when this returns."""

    @abstractmethod
    async def noted(self, partition: int, before_ms: int, limit: int = 1_000) -> list[Noted]:
        """Return what was noted for a partition below a time, the oldest first."""

    @abstractmethod
    async def settle(self, partition: int, noted: Collection[Noted]) -> None:
        """Forget notes, if they are there."""

    @abstractmethod
    async def close(self) -> None:
        """Close the store. It may be called again."""


class Given(NamedTuple):
    """A file that is read: what it is, and its bytes in pieces."""

    described: Attachment
    pieces: AsyncIterator[bytes]


class ServedFiles(Files):
    """A store whose URLs are relative, `files?ticket=TICKET`. A connect server serves them."""

    @abstractmethod
    async def take(self, ticket: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        """Put a file there that somebody uploads. Raises `Refusal`, and then nothing is there."""

    @abstractmethod
    async def give(self, ticket: str) -> Given:
        """Return the file of a ticket. Raises `Refusal`."""
