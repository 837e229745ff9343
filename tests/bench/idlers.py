"""Devices that do nothing but stay, each with a WebSocket of its own, and that come back as clients
do: `python -m tests.bench.idlers`. One costs this process a few KB and no CPU, so that thousands of
them fit beside the server.

Prints a line of JSON when all are connected, and again each time that all have come back after a
loss.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from typing_extensions import override

from cecochat.client.backoff import BackOff
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position, ServerFrame
from tests.support.rawclient import NotFound, find, mint

OPENED_AT_ONCE = 32
OPENED_WITHIN_S = 30.0
BINARY, PING, PONG = 2, 9, 10
BACKOFF = BackOff()  # the defaults of the configuration
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: cecochat.v1\r\n\r\n"
)


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client. The mask is zero, which leaves the payload as it is."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes((0x80 | opcode,)) + length + b"\0\0\0\0" + payload


class Connection(asyncio.Protocol):
    """From the handshake to the loss. `up` is done once the session has caught up."""

    __slots__ = ("_device", "_first", "_rest", "_transport", "lost", "up")

    def __init__(self, device: Device, first: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.up: asyncio.Future[None] | None = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._device = device
        self._first: bytes | None = first
        self._rest = b""
        self._transport: Any = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if self._first:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.abort()
                return
            self._write(self._first)
            self._first = None
        while len(data) >= 2:
            size, begin = data[1], 2
            if size == 126:
                size, begin = int.from_bytes(data[2:4], "big"), 4
            if len(data) < begin + size:
                break
            self._take(data[0] & 15, data[begin : begin + size])
            data = data[begin + size :]
        self._rest = data

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._write(masked(PONG, payload))
        elif opcode == BINARY and self._device.take(payload) and self.up:
            self.up.set_result(None)
            self.up = None

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for waiting in (self.up, self.lost):
            if waiting and not waiting.done():
                waiting.cancel()

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()


@dataclass(slots=True)
class Device:
    """One user's only device."""

    name: str
    token: str = ""
    position: Position | None = None
    gaps: int = 0
    delivered: int = 0

    def hello(self, token: str) -> bytes:
        hello = Hello(device="idler", token=token, position=self.position)
        return masked(BINARY, ClientFrame(hello=hello).SerializeToString())

    def take(self, payload: bytes) -> bool:
        """Whether the session has now caught up."""
        caught_up = False
        for item in ServerFrame.FromString(payload).items:
            if item.HasField("welcome") and self.position is None:
                self.position = Position()
                self.position.CopyFrom(item.welcome.position)
            elif item.HasField("gap"):
                self.gaps += 1
            elif item.HasField("delivered"):
                self.delivered += 1
                self._move(item.delivered)
            elif item.HasField("caught_up"):
                self._move(item.caught_up)
                caught_up = True
        return caught_up

    def _move(self, to: Any) -> None:
        assert self.position
        self.position.offset, self.position.clock_ms = to.offset, to.clock_ms


@dataclass
class Idlers:
    """All devices of this process."""

    given: argparse.Namespace
    addresses: Iterator[str]
    up: int = 0
    lookups: int = 0
    failures: int = 0
    first_loss_s: float = 0.0
    back_s: list[float] = field(default_factory=list)  # after the first loss
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def stay(self, device: Device, turns: asyncio.Semaphore) -> None:
        """Be connected, again and again."""
        async with turns:
            connection = await self._once(device)
        attempt = 0
        while True:
            if connection:
                attempt = 0
                await self._stayed(connection)
            else:
                self.failures += 1
            await asyncio.sleep(BACKOFF.wait_s(attempt, random.random()))
            attempt += 1
            connection = await self._once(device)
            if connection:
                self.back_s.append(time.monotonic() - self.first_loss_s)

    async def _stayed(self, connection: Connection) -> None:
        self.up += 1
        self.changed.set()
        await asyncio.wait([connection.lost])
        self.up -= 1
        self.lost.set()
        if not self.first_loss_s:
            self.first_loss_s = time.monotonic()

    async def _once(self, device: Device) -> Connection | None:
        """Look up where to go, and connect. None: it has failed."""
        device.token = token = device.token or mint(
            self.given.secret_file, device.name, valid_s=86_400
        )
        self.lookups += 1
        try:
            url = urlsplit((await find(self.given.connect, token)).websocket)
            async with asyncio.timeout(OPENED_WITHIN_S):
                return await self._opened(
                    device, url.hostname or "", url.port or 0, url.path, token
                )
        except (NotFound, OSError, TimeoutError):
            return None

    async def _opened(
        self, device: Device, host: str, port: int, path: str, token: str
    ) -> Connection | None:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT (Linux)
        try:
            sock.bind((next(self.addresses), 0))
            await loop.sock_connect(sock, (host, port))
        except OSError:
            sock.close()
            raise
        _, connection = await loop.create_connection(
            lambda: Connection(device, device.hello(token)), sock=sock
        )
        connection._write(HANDSHAKE.format(path=path, host=host).encode())
        up = connection.up
        try:
            if up:
                await asyncio.wait([up])
        except asyncio.CancelledError:
            connection.abort()
            raise
        return connection if connection.up is None else None

    async def all_up(self) -> None:
        while self.up < self.given.count:
            self.changed.clear()
            await self.changed.wait()


async def main(given: argparse.Namespace) -> None:
    idlers = Idlers(given, cycle(given.addresses.split(",")))
    devices = [Device(f"idler{number}") for number in range(given.first, given.first + given.count)]
    turns = asyncio.Semaphore(OPENED_AT_ONCE)
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(idlers.stay(device, turns))
        await idlers.all_up()
        say(idlers, devices, took_s=round(time.monotonic() - began_s, 2))
        while True:
            while idlers.up == given.count:
                idlers.lost.clear()
                await idlers.lost.wait()
            await idlers.all_up()
            say(idlers, devices)
            idlers.back_s.clear()
            idlers.first_loss_s = 0.0


def say(idlers: Idlers, devices: list[Device], **more: Any) -> None:
    figures = {
        "up": idlers.up,
        "back_s": [round(each, 3) for each in sorted(idlers.back_s)],
        "lookups": idlers.lookups,
        "failures": idlers.failures,
        "gaps": sum(device.gaps for device in devices),
        "delivered": sum(device.delivered for device in devices),
        "cpu_s": time.process_time(),
        **more,
    }
    idlers.lookups = idlers.failures = 0
    print(json.dumps(figures), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="URL")
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first user")
    parser.add_argument("--addresses", required=True, help="to connect from, in turn")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parsed()))
