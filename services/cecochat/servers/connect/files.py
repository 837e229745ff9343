"""Serves the URLs of a store that has none of its own: `PUT` and `GET /files?ticket=TICKET`.

What it gives never runs as a page of this origin: it is named as an attachment, its type is not
guessed, and its policy lets it do nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from sanic import Request
from sanic.exceptions import BadRequest
from sanic.response import HTTPResponse, empty

from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.ports.files import Given, ServedFiles
from cecochat.runtime import bodies, http
from cecochat.runtime.http import App, error_response
from cecochat.v1 import errors_pb2

CREATED: Final = 201
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "private, max-age=300",
}


def add_files(app: App, files: ServedFiles) -> None:
    """Add what uploads and downloads need to an application."""

    @app.put("/files", stream=True)
    async def put(request: Request) -> HTTPResponse:
        try:
            await files.take(_ticket(request), _size(request), _pieces(request))
        except (Refusal, Unavailable) as error:
            bodies.drop(request)
            return _refused(error)
        return empty(CREATED)

    @app.get("/files")
    async def get(request: Request) -> HTTPResponse | None:
        try:
            given = await files.give(_ticket(request))
        except (Refusal, Unavailable) as error:
            return _refused(error)
        await _send(request, given)
        return None


def _ticket(request: Request) -> str:
    """Return what proves that the caller may do it. It is in the query, which no log has."""
    return str(request.args.get("ticket", ""))


def _size(request: Request) -> int:
    text = request.headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        raise Invalid("the length of the file is not known: send content-length")
    return int(text)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    stream: Any = request.stream  # its type says neither that it is there nor `read`
    try:
        while piece := await stream.read():
            yield piece
    except BadRequest as error:
        raise Invalid(f"the file cannot be read ({error}): send valid HTTP") from None


async def _send(request: Request, given: Given) -> None:
    described = given.described
    headers = HEADERS | {
        "content-length": str(described.size_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(described.name, safe='')}",
    }
    response = await request.respond(headers=headers, content_type=described.media_type)
    assert response
    async for piece in given.pieces:
        await response.send(piece)
    await response.eof()
    await http.sent(request)


def _refused(error: Refusal | Unavailable) -> HTTPResponse:
    if isinstance(error, Unavailable):
        error = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, str(error), http.RETRY_MS)
    return error_response(error)
