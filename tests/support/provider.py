"""An identity provider on a port of its own: what it answers is said path by path."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.certificates import Signed

Answer = tuple[int, Any]  # status, and what is made JSON; bytes go as they are


@dataclass
class Provider:
    """`answers`: by path. `asked`: how often. While `held` is not set, it takes a request and says
    nothing.
    """

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    location: str = ""

    def publish(self, *keys: Any) -> None:
        """The keys, at /jwks."""
        self.answers["/jwks"] = 200, {"keys": keys}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.asked[path] += 1
            await self.held.wait()
            writer.write(self._answer(path))
            await writer.drain()
        writer.close()

    def _answer(self, path: str) -> bytes:
        status, body = self.answers.get(path, (404, {}))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        location = f"location: {self.location}\r\n" if self.location else ""
        head = f"HTTP/1.1 {status} x\r\n{location}connection: close\r\n"
        return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def provider(signed: Signed | None = None) -> AsyncIterator[Provider]:
    """One that answers at once; over TLS with that certificate."""
    made = Provider()
    made.held.set()
    context = None
    if signed:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(signed.cert_file, signed.key_file)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    scheme = "https" if signed else "http"
    made.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        made.held.set()
        server.close()
