"""Sends files with messages, and reads those of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from hashlib import file_digest, sha256
from io import BytesIO
from itertools import count
from pathlib import Path
from random import random
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

from cecochat.client.arguments import check_client_message_id, check_message_id
from cecochat.client.attachments import Attachment, attachment_of, type_of
from cecochat.client.calling import BACK_OFF, Answer
from cecochat.client.errors import ChatError, InvalidArgument, NotReachable, Refused
from cecochat.client.events import Message
from cecochat.client.lookup import trust
from cecochat.client.names import chat_of
from cecochat.v1 import events_pb2
from cecochat.v1.attachments_pb2 import (
    CreateUploadRequest,
    CreateUploadResponse,
    FinishUploadRequest,
    FinishUploadResponse,
    GetDownloadRequest,
    GetDownloadResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken

if TYPE_CHECKING:
    import httpx
    from google.protobuf.message import Message as Asked

GIVE_UP_S = 60.0
STALL_S = 30.0  # how long a transfer may stand still
PIECE_BYTES = 256 << 10
SAID_BYTES = 300
CODES = {400: "invalid_argument", 404: "not_found", 413: "too_large"}

Source = Path | str | bytes
"""A file by its path, or its content."""


class SendsAttachments(Protocol):
    """Sends a message, as `Client.send` does."""

    async def __call__(
        self,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
        attachments: Sequence[Attachment] = (),
    ) -> int:
        """See `Client.send`."""


class Transfers:
    """Reaches the URLs of files: those of a connect server by `http`, and those of a store that has
    its own, which is never sent a token.
    """

    def __init__(self, url: str, http: httpx.AsyncClient, ca_file: Path | None) -> None:
        self._url = url
        self._http = http
        self._ca_file = ca_file
        self._elsewhere: httpx.AsyncClient | None = None

    def of(self, given: str) -> tuple[str, httpx.AsyncClient]:
        """Return a URL as a whole, and what reaches it."""
        url = urljoin(f"{self._url}/", given)
        if "://" not in given:
            return url, self._http
        if self._elsewhere is None:
            import httpx

            verify = trust(self._ca_file)[0] if url.startswith("https:") else False
            self._elsewhere = httpx.AsyncClient(verify=verify)
        return url, self._elsewhere

    async def close(self) -> None:
        """Close what it has opened itself."""
        if self._elsewhere:
            await self._elsewhere.aclose()


class Calls(Protocol):
    """Makes the calls about attachments for one user."""

    async def call(self, name: str, request: Asked, response: type[Answer]) -> Answer:
        """Make a call. Raises `ChatError`."""


class Files:
    """The files that a user sends and reads, as `Client.files`. Each step is tried again for up to
    60 s while its error is retriable; all raise `ChatError`.
    """

    def __init__(
        self,
        user_id: str,
        transfers: Transfers,
        calling: Calls,
        send: SendsAttachments,
        token: Callable[[], ReadToken | None],
    ) -> None:
        self._user_id = user_id
        self._transfers = transfers
        self._send = send
        self._token = token
        self._calling = calling

    async def send(
        self,
        to: str,
        files: Sequence[Source],
        text: str = "",
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
    ) -> int:
        """Upload up to 10 files, and send a message with them. Return its id once it can no longer
        be lost.

        Raises what `Client.send` raises. To send it again with the same `client_message_id`, use
        `upload`, and `Client.send` with what that has returned.
        """
        id_ = uuid4().hex if client_message_id is None else client_message_id
        uploaded = [await self.upload(to, each, client_message_id=id_) for each in files]
        return await self._send(
            to, text, client_message_id=id_, reply_to_id=reply_to_id, attachments=uploaded
        )

    async def upload(
        self,
        to: str,
        file: Source,
        *,
        client_message_id: str,
        name: str | None = None,
        media_type: str | None = None,
    ) -> Attachment:
        """Upload a file for the message that will be sent with this id, within a day. Pass what
        this returns to `Client.send`.

        By default, its name is that of the file, and its type is what the name says. Raises
        `Refused` with the code `too_large` or `invalid_argument` where the operator allows no such
        file.
        """
        chat_id = chat_of(self._user_id, to)
        check_client_message_id(client_message_id)
        described = await _described(file, name, media_type)
        request = CreateUploadRequest(
            chat_id=chat_id, client_message_id=client_message_id, attachment=described
        )
        begun = await self._calling.call("CreateUpload", request, CreateUploadResponse)
        await _again(partial(self._put, begun, file))
        finish = FinishUploadRequest(
            chat_id=chat_id, client_message_id=client_message_id, attachment=begun.attachment
        )
        done = await self._calling.call("FinishUpload", finish, FinishUploadResponse)
        return attachment_of(done.attachment)

    async def read(self, message: Message, attachment: Attachment) -> bytes:
        """Return the content of a file. It is what its sender has uploaded: its hash is checked.

        Raises `Refused` with the code `not_found` if the message was deleted, or is none of the
        user's.
        """
        into = BytesIO()
        await _again(partial(self._get, message, attachment, into))
        return into.getvalue()

    async def save(self, message: Message, attachment: Attachment, path: Path | str) -> None:
        """Write a file to a path, in whole or not at all. Works like `read`. Raises OSError."""
        whole = Path(path)
        part = whole.with_name(f".{whole.name}.{uuid4().hex[:8]}")
        try:
            with await asyncio.to_thread(part.open, "xb") as into:
                await _again(partial(self._get, message, attachment, into))
            await asyncio.to_thread(part.replace, whole)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    # -- the bytes

    async def _put(self, begun: CreateUploadResponse, file: Source) -> None:
        headers = {each.name: each.value for each in begun.headers}
        headers["content-length"] = str(begun.attachment.size_bytes)
        url, http = self._transfers.of(begun.url)
        with _failing(url):
            answer = await http.put(url, content=_pieces(file), headers=headers, timeout=STALL_S)
            await _check(url, answer)

    async def _get(self, message: Message, attachment: Attachment, into: IO[bytes]) -> None:
        check_message_id("message.id", message.id)
        request = GetDownloadRequest(
            chat_id=message.chat_id,
            message_id=message.id,
            attachment_id=attachment.id,
            token=self._token(),
        )
        found = await self._calling.call("GetDownload", request, GetDownloadResponse)
        into.seek(0)
        into.truncate()
        digest, size_bytes = sha256(), 0
        async with self._streamed(found.url) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size_bytes += len(piece)
                if size_bytes > found.attachment.size_bytes:
                    break
                await asyncio.to_thread(into.write, piece)
        if digest.digest() != found.attachment.sha256:
            raise NotReachable(f"what came of {attachment.name} is not what was uploaded")

    @asynccontextmanager
    async def _streamed(self, given: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        url, http = self._transfers.of(given)
        with _failing(url):
            async with http.stream("GET", url, timeout=STALL_S) as answer:
                await _check(url, answer)
                yield answer.aiter_bytes(PIECE_BYTES)


async def _described(
    file: Source, name: str | None, media_type: str | None
) -> events_pb2.Attachment:
    """Describe a file. Raises `InvalidArgument`."""
    if isinstance(file, bytes):
        if name is None:
            raise InvalidArgument("a file without a path has no name: pass `name`")
        size_bytes, digest = len(file), sha256(file).digest()
    else:
        name = Path(file).name if name is None else name
        size_bytes, digest = await asyncio.to_thread(_measured, Path(file))
    return events_pb2.Attachment(
        name=name, media_type=type_of(name, media_type), size_bytes=size_bytes, sha256=digest
    )


def _measured(path: Path) -> tuple[int, bytes]:
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").digest()
            return file.tell(), digest
    except OSError as error:
        raise InvalidArgument(f"the file {path} cannot be read: {error.strerror}") from None


async def _pieces(file: Source) -> AsyncIterator[bytes]:
    if isinstance(file, bytes):
        yield file
        return
    with await asyncio.to_thread(Path(file).open, "rb") as opened:
        while piece := await asyncio.to_thread(opened.read, PIECE_BYTES):
            yield piece


async def _again(step: Callable[[], Awaitable[None]]) -> None:
    """Take a step, again while its error is retriable."""
    give_up_s = time.monotonic() + GIVE_UP_S
    for attempt in count():
        try:
            return await step()
        except ChatError as error:
            wait_s = BACK_OFF.wait_s(attempt, random(), error.retry_after_s)  # noqa: S311
            if not error.retriable or time.monotonic() + wait_s > give_up_s:
                raise
        await asyncio.sleep(wait_s)


@contextmanager
def _failing(url: str) -> Iterator[None]:
    """Raise `NotReachable` for what fails on the way."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        host = urlsplit(url).netloc
        raise NotReachable(f"{host} does not answer ({type(error).__name__}: {error})") from None


async def _check(url: str, answer: httpx.Response) -> None:
    """Raise why a store refuses. One that is not a connect server says so in its own words."""
    if answer.is_success:
        return
    said = (await answer.aread())[:SAID_BYTES].decode(errors="replace")
    what = f"{urlsplit(url).netloc} answered {answer.status_code}: {said}"
    if answer.is_server_error:
        raise NotReachable(what)
    raise Refused(CODES.get(answer.status_code, "forbidden"), what)
