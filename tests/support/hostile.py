"""Streams and calls of bytes that no client library would write, and how an answer is judged."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import jwt

from cecochat.run import system
from cecochat.settings.settings import Settings
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ServerFrame, ServerItem
from tests.support import operators
from tests.support.pipes import CHAT, CONNECTION_OF_ITS_OWN, ERROR_TRAILER

PORTS = [each.name for each in fields(Settings) if each.name.endswith("_port")]
ANSWER_WITHIN_S = 30.0
MADE_UP = "Internal error from Core"
CUT_OFF = "cut off under what was written"
LEAKED = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|\b\w+(Error|Exception)\b|0x[0-9a-f]{6,}"
    r"|<[\w.]+ object|(^|[\s(])/(home|work|tmp|usr|root|var)/|recursion|codec|Errno",
)
"""What a message to a client must not hold: it says how the server is built, and helps nobody."""

Metadata = Sequence[tuple[str, str | bytes]]


class Answer(NamedTuple):
    """All that a stream or a call was answered."""

    items: list[ServerItem]
    status: grpc.StatusCode
    details: str
    error: errors_pb2.Error | None  # of the trailer

    @property
    def made_up(self) -> bool:
        """Whether the client lost what the server said, see `talk`."""
        return self.details in (MADE_UP, CUT_OFF)

    @property
    def well(self) -> bool:
        """Whether it ended because the client left."""
        return self.status is grpc.StatusCode.OK

    @property
    def code(self) -> str:
        """The typed code, of the trailer: `INVALID_ARGUMENT`."""
        assert self.error is not None, f"not typed: {self.status} {self.details}"
        return errors_pb2.ErrorCode.Name(self.error.code).removeprefix("ERROR_CODE_")

    def judged(self) -> Answer:
        """Itself, if every error in it is typed, says what to do, and tells nothing else."""
        if not self.well:
            assert self.error is not None, f"not typed: {self.status} {self.details}"
            judge(self.error)
            assert self.details == self.error.message
        for item in self.items:
            if item.HasField("disconnect"):
                assert item is self.items[-1], "an item after the last one"
                assert item.disconnect.error == self.error
            if item.HasField("refused"):
                judge(item.refused.error)
        return self


def judge(error: errors_pb2.Error) -> None:
    """A typed error that says what was wrong and what to do, and is no fault of the server."""
    assert error.code not in (errors_pb2.ERROR_CODE_UNSPECIFIED, errors_pb2.ERROR_CODE_INTERNAL)
    judge_text(error.message)


def judge_text(message: str) -> None:
    """Says something, and not how the server is built."""
    assert 15 <= len(message) <= 600, message
    assert not LEAKED.search(message), message


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def minted(secret_file: str, **claims: Any) -> str:
    """A development token with these claims over the usual ones; None leaves one out."""
    usual = {"aud": "cecochat", "exp": int(time.time()) + 3_600}
    held = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(held, Path(secret_file).read_text().strip(), algorithm="HS256")


@asynccontextmanager
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A TCP connection of its own."""
    async with grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN) as made:
        yield made


def opened(made: grpc.aio.Channel, metadata: Metadata) -> Any:
    """A stream that takes bytes."""
    method: Any = made.stream_stream(CHAT, response_deserializer=ServerFrame.FromString)
    return method(metadata=metadata)


async def talk(
    made: grpc.aio.Channel, metadata: Metadata, frames: Iterable[bytes], *, leave: bool = True
) -> Answer:
    """Write all frames, close this side unless the server is to end the stream, read to the end.

    A write that crosses the server's end can cost a client of grpc.aio (1.85) all that was
    answered: it then makes up an INTERNAL, `MADE_UP`. The frame that ends a stream should be the
    last, and even so about one stream in ten thousand is lost on it.
    """
    async with asyncio.timeout(ANSWER_WITHIN_S):
        call = opened(made, metadata)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # ended: the answer says so
            for frame in frames:
                await call.write(frame)
            if leave:
                await call.done_writing()
        return await to_the_end(call)


async def to_the_end(call: Any) -> Answer:
    """What there is to read, and the status."""
    items: list[ServerItem] = []
    with suppress(grpc.aio.AioRpcError):
        while isinstance(frame := await call.read(), ServerFrame):
            items += frame.items
    trailer = await call.trailing_metadata()
    return Answer(items, await call.code(), await call.details() or "", _typed(trailer))


async def ask(made: grpc.aio.Channel, method: str, metadata: Metadata, request: bytes) -> Answer:
    """One call with the request as bytes."""
    unary: Any = made.unary_unary(method)
    call = unary(request, metadata=metadata, timeout=ANSWER_WITHIN_S)
    with suppress(grpc.aio.AioRpcError):
        await call
    trailer = await call.trailing_metadata()
    return Answer([], await call.code(), await call.details() or "", _typed(trailer))


def _typed(metadata: Any) -> errors_pb2.Error | None:
    for name, value in metadata or ():
        if name == ERROR_TRAILER:
            return errors_pb2.Error.FromString(value)
    return None


def settings(folder: Path, **others: Any) -> Settings:
    """Any free ports."""
    ours = {"cluster_secret_file": operators.SECRET_FILE, **dict.fromkeys(PORTS, 0)}
    return Settings(data_dir=folder, **{**ours, **others})


@asynccontextmanager
async def inside(folder: Path, **others: Any) -> AsyncIterator[system.Addresses]:
    """The whole system in this very process, so that a test can look into it."""
    async with system.started(settings(folder, **others)) as addresses:
        yield addresses


async def http(url: str, request: bytes) -> bytes:
    """What these bytes are answered on a connection of their own, until the server closes it."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with suppress(ConnectionError):
                writer.write(request)
                await writer.drain()
            answer = b""
            with suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    answer += piece
            return answer
    finally:
        writer.close()


async def metric(url: str, name: str) -> float:
    """The sum of a metric over its labels, 0 where there is none yet."""
    head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    authorized = f"{head}Authorization: Bearer {operators.token()}\r\n\r\n"
    answer = await http(url, authorized.encode())
    lines = answer.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))
