"""Connections to the history's HTTP port, which say what no library would."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx

from tests.support.rawclient import mint
from tests.support.server import Server

CALL = "/cecochat.v1.History/GetMessages"
WITHIN_S = 60.0


class Peer:
    """A connection to the history's HTTP port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Of the next answer."""
        async with asyncio.timeout(WITHIN_S):
            return int((await self.reader.readuntil(b"\r\n")).split()[1])

    async def ended(self) -> None:
        """Wait until the server has hung up."""
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionError):
                while await self.reader.read(1 << 16):
                    pass


@asynccontextmanager
async def peer(server: Server, window: int = 0) -> AsyncIterator[Peer]:
    """With a window, the kernel takes no more than that for a peer that does not read."""
    url = urlsplit(server.ready["history_http"])
    with socket.socket() as opened:
        if window:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (url.hostname, url.port))
        reader, writer = await asyncio.open_connection(sock=opened, limit=1 << 12)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()


def head(server: Server, user: str, *headers: str) -> bytes:
    lines = [
        f"POST {CALL} HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {mint(server.secret_file, user)}",
        "content-type: application/json",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


async def answers(server: Server, user: str) -> int:
    """The status of somebody's honest query."""
    headers = {"authorization": f"Bearer {mint(server.secret_file, user)}"}
    async with httpx.AsyncClient(timeout=WITHIN_S) as client:
        url = f"{server.ready['history_http']}/cecochat.v1.History/GetChats"
        return (await client.post(url, json={}, headers=headers)).status_code
