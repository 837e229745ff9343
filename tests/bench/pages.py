"""What a page of a chat costs the server over gRPC, and over HTTP as protobuf and as JSON.

    python -m tests.bench.pages [PAGES [ROUNDS]]

One connection asks for one page after the other. The ways take turns, so that what else the machine
does falls on all of them; the least of the rounds counts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx

from cecochat.client import connect
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.bench.meter import cpu_s, percentiles_ms
from tests.bench.table import aligned
from tests.support.rawclient import mint
from tests.support.server import Server, running

PAGES, ROUNDS = 1_000, 3
MESSAGES, TEXT = 50, "x" * 100
CALL = "/cecochat.v1.History/GetMessages"
REQUEST = GetMessagesRequest(chat_id="d:alice~bob", limit=MESSAGES)
Ask = Callable[[], Awaitable[bytes]]


def over_grpc(channel: grpc.aio.Channel, token: str) -> Ask:
    method: Any = channel.unary_unary(CALL)
    request, metadata = REQUEST.SerializeToString(), (("authorization", f"Bearer {token}"),)

    async def ask() -> bytes:
        page: bytes = await method(request, metadata=metadata)
        return page

    return ask


def over_http(client: httpx.AsyncClient, token: str, kind: str, request: bytes) -> Ask:
    headers = {"authorization": f"Bearer {token}", "content-type": kind}

    async def ask() -> bytes:
        answer = await client.post(CALL, content=request, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    return ask


async def measured(server: Server, ask: Ask, pages: int) -> dict[str, float]:
    """CPU of the server for a page in ms, latencies, and the size of a page."""
    taken_s: list[float] = []
    size, before_s = len(await ask()), cpu_s(server.pid)
    for _ in range(pages):
        begun_s = time.perf_counter()
        await ask()
        taken_s.append(time.perf_counter() - begun_s)
    cpu_ms = (cpu_s(server.pid) - before_s) / pages * 1_000
    return {"cpu_ms": round(cpu_ms, 3), **percentiles_ms(taken_s), "bytes": size}


async def filled(server: Server) -> str:
    """The token of somebody with a chat of one page."""
    token = mint(server.secret_file, "alice")
    async with connect(server.connect_url, token) as alice:
        for _ in range(MESSAGES):
            last = await alice.send("bob", TEXT)
        assert (await alice.history("bob")).messages[-1].id == last
    return token


async def main(pages: int, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = await stack.enter_async_context(running(Path(folder)))
        token = await filled(server)
        channel = grpc.aio.insecure_channel(server.ready["history"])
        await stack.enter_async_context(channel)
        client = httpx.AsyncClient(base_url=server.ready["history_http"])
        await stack.enter_async_context(client)
        proto, as_json = REQUEST.SerializeToString(), b'{"chatId": "d:alice~bob", "limit": 50}'
        ways = {
            "gRPC": over_grpc(channel, token),
            "HTTP, protobuf": over_http(client, token, "application/proto", proto),
            "HTTP, JSON": over_http(client, token, "application/json", as_json),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                found[name].append(await measured(server, ask, pages))
    best = {name: min(each, key=lambda one: one["cpu_ms"]) for name, each in found.items()}
    names = next(iter(best.values())).keys()
    rows = [[way, *map(str, each.values())] for way, each in best.items()]
    print(aligned([["a page of 50", *names], *rows]))


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    asyncio.run(main(*(given + [PAGES, ROUNDS][len(given) :])))
