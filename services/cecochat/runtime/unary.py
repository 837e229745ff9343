"""Serves unary calls by the Connect protocol: a POST with protobuf or JSON, and typed errors
(https://connectrpc.com/docs/protocol#unary-request). ADR 0213 says why this is no library.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import Invalid, Refusal
from cecochat.runtime import bodies, http
from cecochat.runtime.grpc import status_of
from cecochat.runtime.http import REQUEST_MAX_BYTES, App, headers_of
from cecochat.v1 import errors_pb2

CALLS: Final = "/cecochat."
"""What the path of every call begins with: its package."""
JSON: Final = "application/json"
PROTO: Final = "application/proto"
NOT_FOUND: Final = 404
UNSUPPORTED_MEDIA_TYPE: Final = 415
TIMEOUT_DIGITS: Final = 10
GZIP: Final = 16 + zlib.MAX_WBITS
PIECE_BYTES: Final = 64 << 10
"""How much of an answer is sent at a time. The next piece waits until the kernel has all of it."""

STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""Code of Connect, which is that of gRPC -> HTTP status. Any other is 500."""

Asked = TypeVar("Asked", bound=Message)


class Unary:
    """One call under way."""

    def __init__(self, request: Request, content_type: str, max_bytes: int) -> None:
        self.authorization = request.headers.get("authorization", "")
        self.traceparent = request.headers.get("traceparent", "")
        self.request = request
        self._content_type = content_type
        self._max_bytes = max_bytes

    def timeout_s(self, longest_s: float) -> float:
        """Return how long the client waits, but at most `longest_s`. Raises `Refusal`."""
        text = self.request.headers.get("connect-timeout-ms")
        if text is None:
            return longest_s
        if not (text.isascii() and text.isdigit() and len(text) <= TIMEOUT_DIGITS):
            raise Invalid(f"connect-timeout-ms is {text!r:.40}: use up to {TIMEOUT_DIGITS} digits")
        return min(longest_s, int(text) / 1_000)

    async def read(self, kind: type[Asked]) -> Asked:
        """Return the request once it is there. Raises `Refusal`."""
        version = self.request.headers.get("connect-protocol-version", "1")
        if version != "1":
            raise Invalid(f"connect-protocol-version is {version!r:.40}: use 1")
        body = await bodies.read(self.request, self._max_bytes)
        return self._parsed(self._decompressed(body), kind)

    def encoded(self, answer: bytes, kind: type[Message]) -> bytes:
        """Return a serialized answer as the client wants it: as it is, or as JSON."""
        return answer if self._content_type == PROTO else _as_json(kind.FromString(answer))

    async def write(self, body: bytes) -> None:
        """Send the body of the answer. This returns when the kernel has all of it."""
        headers = {"content-length": str(len(body))}
        response = await self.request.respond(headers=headers, content_type=self._content_type)
        assert response
        begins = range(0, len(body) or 1, PIECE_BYTES)
        for begin in begins:
            piece = body[begin : begin + PIECE_BYTES]
            await response.send(piece, end_stream=begin == begins[-1])
        await http.sent(self.request)

    def hang_up(self) -> None:
        """End the connection at once, which cancels whoever answers the call."""
        transport: Any = self.request.transport  # its type says less than it is
        transport.abort()

    def drop(self) -> None:
        """Keep nothing of the request, since it is refused."""
        bodies.drop(self.request)

    def _decompressed(self, body: bytes) -> bytes:
        encoding = self.request.headers.get("content-encoding", "identity")
        if encoding == "identity":
            return body
        if encoding != "gzip":
            raise Refusal(
                errors_pb2.ERROR_CODE_UNIMPLEMENTED,
                f"content-encoding is {encoding!r:.40}: use gzip or identity",
            )
        try:
            inflating = zlib.decompressobj(GZIP)
            whole = inflating.decompress(body, self._max_bytes + 1)
        except zlib.error as error:
            raise Invalid(f"the body is no gzip ({error}): send it as it says") from None
        if len(whole) > self._max_bytes:
            raise bodies.too_large(self._max_bytes)
        if not inflating.eof or inflating.unused_data:
            raise Invalid("the body is not one whole gzip: send it as it says")
        return whole

    def _parsed(self, body: bytes, kind: type[Asked]) -> Asked:
        try:
            if self._content_type == PROTO:
                return kind.FromString(body)
            value = json.loads(body.decode())  # of bytes, it would guess the encoding
            if not isinstance(value, dict):
                raise ParseError("it is no object")
            return ParseDict(value, kind(), ignore_unknown_fields=True)
        except (DecodeError, ParseError, ValueError, RecursionError) as error:
            why = f" ({error})" if isinstance(error, ParseError | json.JSONDecodeError) else ""
            raise Invalid(
                f"the request is no {kind.DESCRIPTOR.full_name}{why:.300}: write it as "
                f"{'the proto' if self._content_type == PROTO else 'the proto in JSON'} says",
            ) from None


Answer = Callable[[Unary], Awaitable[Refusal | None]]
"""Answers a call by `write`, or returns why it is refused."""


def add_route(app: App, path: str, answer: Answer, max_bytes: int = REQUEST_MAX_BYTES) -> None:
    """Add a call, whose request has at most `max_bytes`. Its handler runs before that is read."""

    async def handle(request: Request) -> HTTPResponse | None:
        content_type = _content_type(request)
        if content_type not in (JSON, PROTO):
            return _unsupported(content_type)
        refusal = await answer(Unary(request, content_type, max_bytes))
        return error_response(refusal) if refusal else None

    app.add_route(handle, path, methods=["POST"], name=path.replace("/", "_"), stream=True)


def error_response(
    refusal: Refusal, status: int | None = None, more_headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return a refusal as an error of Connect, whose details have it as a `cecochat.v1.Error`."""
    code, proto = status_of(refusal), refusal.proto()
    detail = {
        "type": proto.DESCRIPTOR.full_name,
        "value": b64encode(proto.SerializeToString()).decode().rstrip("="),
        "debug": MessageToDict(proto),
    }
    body = {"code": code.name.lower(), "message": refusal.message, "details": [detail]}
    status = status or STATUS.get(code, 500)
    headers = headers_of(refusal, more_headers)
    return json_response(body, status=status, headers=headers, dumps=json.dumps)


def refused(
    request: Request, refusal: Refusal, status: int, more_headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the answer to a request that no handler sees: to a call, as an error of Connect."""
    if not request.path.startswith(CALLS):
        return http.error_response(refusal, status, more_headers)
    if status == NOT_FOUND:  # a later version may have this call
        refusal = Refusal(errors_pb2.ERROR_CODE_UNIMPLEMENTED, refusal.message)
    return error_response(refusal, status, more_headers)


def _content_type(request: Request) -> str:
    given: str = request.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()


def _unsupported(content_type: str) -> HTTPResponse:
    refusal = Invalid(f"content-type is {content_type!r:.80}: use {JSON} or {PROTO}")
    accepted = {"accept-post": f"{JSON}, {PROTO}"}
    return error_response(refusal, UNSUPPORTED_MEDIA_TYPE, accepted)


def _as_json(message: Message) -> bytes:
    value = MessageToDict(message)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
