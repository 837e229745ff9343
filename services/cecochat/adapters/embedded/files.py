"""Files in a folder, which a connect server serves by tickets that this store has signed.

In the folder, `kept/OWNER/ID` is a file, `coming/` has what is being uploaded, and the name of each
empty file in `noted/PARTITION/` is a note.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import jwt
from typing_extensions import override

from cecochat.domain.changes.attachments import check_id
from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.ports.files import PIECE_BYTES, Given, Key, Noted, ServedFiles, Upload
from cecochat.settings import private
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Attachment

FOLDER: Final = "files"
AUDIENCE: Final = "cecochat-files"
TIME_DIGITS: Final = 13
LEFT_S: Final = 86_400
"""How old a half of a file is that nobody uploads any more."""

T = TypeVar("T")


class EmbeddedFiles(ServedFiles):
    """All files in `files/` of a data folder. Several processes may use it at once."""

    def __init__(self, folder: Path, secret: bytes) -> None:
        self._folder = folder
        self._secret = secret

    @classmethod
    async def open(cls, data: Path) -> EmbeddedFiles:
        """Open or make the folder. What a killed process left half-uploaded goes. Raises
        `Unavailable`.
        """
        folder = data / FOLDER
        await _on_disk(partial(_prepare, folder))
        return cls(folder, private.drawn_secret(data / "files-secret"))

    # -- URLs

    @override
    async def upload(self, key: Key, described: Attachment, for_s: int) -> Upload:
        return Upload(
            self._url("put", key, described, for_s), {"content-type": described.media_type}
        )

    @override
    async def download(self, key: Key, described: Attachment, for_s: int) -> str:
        return self._url("get", key, described, for_s)

    def _url(self, use: str, key: Key, described: Attachment, for_s: int) -> str:
        claims = {
            "aud": AUDIENCE,
            "exp": time.time() + for_s,
            "use": use,
            "key": key,
            "name": described.name,
            "type": described.media_type,
            "size": described.size_bytes,
            "sha256": described.sha256.hex(),
        }
        return f"files?ticket={jwt.encode(claims, self._secret, algorithm='HS256')}"

    def _claims(self, ticket: str, use: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                ticket,
                self._secret,
                algorithms=["HS256"],
                audience=AUDIENCE,
                options={"require": ["exp"]},
            )
        except jwt.InvalidTokenError:
            claims = {}
        if claims.get("use") != use:
            raise Refusal(
                errors_pb2.ERROR_CODE_FORBIDDEN,
                "this URL is not valid, or not any more: ask for another one",
            )
        return dict(claims)

    # -- serving them

    @override
    async def take(self, ticket: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        claims = self._claims(ticket, "put")
        if size_bytes != claims["size"]:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_LARGE,
                f"the file has {size_bytes} bytes, but {claims['size']} were asked for: upload "
                "that file",
            )
        coming = self._folder / "coming" / secrets.token_hex(8)
        try:
            await self._receive(coming, claims, pieces)
            await _on_disk(partial(_keep, coming, self._path(Key(*claims["key"]))))
        finally:
            await _on_disk(partial(coming.unlink, missing_ok=True))

    async def _receive(
        self, coming: Path, claims: dict[str, Any], pieces: AsyncIterator[bytes]
    ) -> None:
        digest, size_bytes = sha256(), 0
        file = await _on_disk(partial(_new, coming))
        with file:
            async for piece in pieces:
                size_bytes += len(piece)
                if size_bytes > claims["size"]:
                    break
                digest.update(piece)
                await _on_disk(partial(file.write, piece))
            if size_bytes != claims["size"] or digest.hexdigest() != claims["sha256"]:
                raise Invalid("this is not the file that was asked for: its hash or size differs")
            await _on_disk(partial(_sync, file.fileno(), file.flush))

    @override
    async def give(self, ticket: str) -> Given:
        claims = self._claims(ticket, "get")
        described = Attachment(
            name=claims["name"], media_type=claims["type"], size_bytes=claims["size"]
        )
        path = self._path(Key(*claims["key"]))
        if await self.size(Key(*claims["key"])) != described.size_bytes:
            raise Refusal(errors_pb2.ERROR_CODE_NOT_FOUND, "this file is not there any more")
        return Given(described, _pieces(path))

    # -- files

    @override
    async def size(self, key: Key) -> int | None:
        return await _on_disk(partial(_size, self._path(key)))

    @override
    async def read(self, key: Key) -> AsyncGenerator[bytes] | None:
        path = self._path(key)
        return None if await _on_disk(partial(_size, path)) is None else _pieces(path)

    @override
    async def delete(self, keys: Collection[Key]) -> None:
        await _on_disk(partial(_delete, [self._path(key) for key in keys]))

    @override
    async def of(self, owner: str) -> list[Key]:
        folder = self._folder / "kept" / owner
        return [Key(owner, name) for name in await _on_disk(partial(_names, folder))]

    def _path(self, key: Key) -> Path:
        """Return where a file is. Neither part of a key can lead out of the folder."""
        assert key.owner.isalnum(), "it is a digest"
        return self._folder / "kept" / key.owner / check_id(key.id)

    # -- notes

    @override
    async def note(self, partition: int, noted: Collection[Noted]) -> None:
        await _on_disk(partial(_touch, [self._note(partition, each) for each in noted]))

    @override
    async def noted(self, partition: int, before_ms: int, limit: int = 1_000) -> list[Noted]:
        names = await _on_disk(partial(_names, self._folder / "noted" / str(partition)))
        below = f"{before_ms:0{TIME_DIGITS}}"
        return [_noted(name) for name in names if name < below][:limit]

    @override
    async def settle(self, partition: int, noted: Collection[Noted]) -> None:
        await _on_disk(partial(_delete, [self._note(partition, each) for each in noted]))

    def _note(self, partition: int, noted: Noted) -> Path:
        name = f"{noted.at_ms:0{TIME_DIGITS}}.{noted.key.owner}.{check_id(noted.key.id)}"
        return self._folder / "noted" / str(partition) / name

    @override
    async def close(self) -> None:
        """Nothing stays open."""


def _noted(name: str) -> Noted:
    at_ms, owner, id_ = name.split(".")
    return Noted(int(at_ms), Key(owner, id_))


async def _on_disk(step: Callable[[], T]) -> T:
    """Do something with the disk in a thread. Raises `Unavailable`."""
    try:
        return await asyncio.to_thread(step)
    except OSError as error:
        raise Unavailable(f"the folder of files does not work: {error}") from None


async def _pieces(path: Path) -> AsyncGenerator[bytes]:
    with await _on_disk(partial(_opened, path)) as file:
        while piece := await _on_disk(partial(file.read, PIECE_BYTES)):
            yield piece


def _prepare(folder: Path) -> None:
    for name in ("kept", "coming", "noted"):
        private.make_folder(folder / name)
    for left in (folder / "coming").iterdir():
        if left.stat().st_mtime < time.time() - LEFT_S:
            left.unlink(missing_ok=True)


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _new(path: Path) -> IO[bytes]:
    private.make_file(path)
    return path.open("wb")


def _keep(coming: Path, path: Path) -> None:
    private.make_folder(path.parent)
    coming.replace(path)
    _sync_folder(path.parent)


def _touch(paths: list[Path]) -> None:
    for path in paths:
        private.make_folder(path.parent)
        private.make_file(path)
        _sync_folder(path.parent)


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def _sync(number: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(number)


def _sync_folder(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
