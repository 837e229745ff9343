"""What the edge does for clients, and against those who are none."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from cecochat.client import Client, Event, Message, Reconnecting, connect
from cecochat.edge.configuration import LOGGED
from tests.hostile import http2
from tests.hostile.http2 import (
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    bomb,
    frame,
    peer,
)
from tests.support.backends import Backends
from tests.support.certificates import Signed, certificates
from tests.support.edge import behind_an_edge, edge, free_address
from tests.support.eventually import eventually
from tests.support.pipes import TransportName
from tests.support.rawclient import mint
from tests.support.server import command, running

HEADERS_S = {"CECOCHAT_EDGE_HEADER_S": "1"}
ENDED_WITHIN_S = 60.0
ARRIVES_WITHIN_S = 60.0
SILENT_S = 4.0
CONNECTIONS, LIMIT = 50, 20
RST_STREAM, FLOODED = 3, 5_000


def trickles() -> dict[str, Iterator[bytes]]:
    """Ways to keep a connection for nothing, a little at a time."""
    begun = PREFACE + frame(SETTINGS)
    block = (bytes([number]) for number in bomb("/cecochat.v1.Messaging/Chat", 1))
    return {
        "nothing": itertools.repeat(b""),
        "HTTP/1.1 headers": itertools.chain(
            [b"GET /v1/connect HTTP/1.1\r\nx: "], itertools.repeat(b"a")
        ),
        "HTTP/2 without a call": itertools.chain([begun], itertools.repeat(b"")),
        "HTTP/2 pings": itertools.chain([begun], itertools.repeat(frame(PING, b"8 bytes."))),
        "HTTP/2 headers": itertools.chain([begun], block),
    }


async def test_who_does_not_send_headers_in_time_is_ended(
    tmp_path: Path, backends: Backends
) -> None:
    async with edge(free_address(), tmp_path, backends, HEADERS_S) as front:
        ways = trickles()
        taken_s = await asyncio.gather(
            *(ended_after_s(front.address, way) for way in ways.values())
        )
        assert {kind: took for kind, took in zip(ways, taken_s, strict=True) if took is None} == {}


async def ended_after_s(address: str, pieces: Iterator[bytes]) -> float | None:
    """None: not within a time."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    heard = asyncio.create_task(_to_the_end(reader))
    while not heard.done() and time.monotonic() - began < ENDED_WITHIN_S:
        writer.write(next(pieces))
        await asyncio.wait([heard], timeout=0.2)
    writer.close()
    ended = heard.done()
    await heard
    return time.monotonic() - began if ended else None


async def _to_the_end(reader: asyncio.StreamReader) -> None:
    try:
        await reader.read()
    except ConnectionError:
        return


async def test_an_address_has_so_many_connections_and_no_more(
    tmp_path: Path, backends: Backends
) -> None:
    limit = {"CECOCHAT_EDGE_CONNECTIONS_PER_ADDRESS": str(LIMIT)}
    async with edge(free_address(), tmp_path, backends, limit) as front:
        attempts = [await asyncio.to_thread(dial, front.address) for _ in range(CONNECTIONS)]
        held = [each for each in attempts if each is not None]
        await eventually(lambda: sum(map(is_open, held)) == LIMIT, ENDED_WITHIN_S)
        for each in held:
            each.close()
        await eventually(lambda: held_anew(front.address), ENDED_WITHIN_S)


def dial(address: str) -> socket.socket | None:
    """None: the edge has reset it at once."""
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host, int(port)))
    except ConnectionError:
        return None


def is_open(made: socket.socket) -> bool:
    """Whether the other side has not ended it."""
    made.setblocking(False)
    try:
        return made.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def held_anew(address: str) -> bool:
    """Whether a connection is taken and kept."""
    made = dial(address)
    if made is None:
        return False
    with made:
        time.sleep(0.1)
        return is_open(made)


async def test_an_address_has_so_many_requests_and_no_more(
    tmp_path: Path, backends: Backends
) -> None:
    """Whatever it asks: refusing a wrong token costs a server as much as answering."""
    limit = {"CECOCHAT_EDGE_REQUESTS_PER_ADDRESS": "1"}  # ten in ten seconds
    async with behind_an_edge(tmp_path, backends, limit) as (server, front):
        async with httpx.AsyncClient(base_url=server.connect_url) as http:
            answers = [await http.get("/v1/connect") for _ in range(12)]
        statuses = [answer.status_code for answer in answers]
        taken = statuses.count(401)
        assert statuses == [401] * taken + [429] * (12 - taken)
        assert 8 <= taken <= 10, "whether it is up was asked too"
        async with grpc.aio.insecure_channel(front.address) as channel:
            call: Any = channel.unary_unary("/cecochat.v1.History/GetChats")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, "clients come back later"


async def test_queries_come_through_it_over_grpc_and_over_http(
    tmp_path: Path, backends: Backends
) -> None:
    """At one address and one path; a page at the address of the edge is our own."""
    async with behind_an_edge(tmp_path, backends) as (server, front):
        token, origin = mint(server.secret_file, "alice"), server.connect_url
        async with connect(origin, token) as alice:
            sent = await alice.send("bob", "hello")
            assert (await alice.history("bob")).messages[-1].id == sent
        assert server.ready["history_http"] == origin
        headers = {"authorization": f"Bearer {token}", "origin": origin}
        path = "/cecochat.v1.History/GetMessages"
        async with httpx.AsyncClient(base_url=origin, headers=headers) as http:
            page = await http.post(path, json={"chatId": "d:alice~bob"})
            assert page.json()["messages"][-1]["id"] == str(sent)
            asked = {"access-control-request-method": "POST"}
            preflight = await http.options(path, headers=asked)
            for each in (page, preflight):
                assert each.headers["access-control-allow-origin"] == origin
            route = (await http.post("/cecochat.v1.Directory/Lookup", json={})).json()
            assert (route["historyHttp"], route["history"]) == (origin, front.address)
            assert (await http.get("/openapi.json")).status_code == 200
            evil = await http.post(path, json={}, headers={"origin": "https://evil.example"})
            assert evil.status_code == 403


async def test_operators_endpoints_are_not_behind_it(tmp_path: Path, backends: Backends) -> None:
    async with behind_an_edge(tmp_path, backends) as (server, front):
        async with httpx.AsyncClient(base_url=server.connect_url) as http:
            answers = [await http.get(path) for path in ("/metrics", "/livez", "/readyz", "/")]
            assert [answer.status_code for answer in answers] == [404] * 4
        async with grpc.aio.insecure_channel(front.address) as channel:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await check(b"")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_access_log_holds_no_token(tmp_path: Path, backends: Backends) -> None:
    async with behind_an_edge(tmp_path, backends) as (server, front):
        token = mint(server.secret_file, "alice")
        async with connect(server.connect_url, token) as alice:
            await alice.send("bob", "hello")
            await alice.chats()
        async with httpx.AsyncClient(base_url=server.connect_url) as http:
            await http.get("/v1/connect", params={"token": token})
        await eventually(lambda: front.said.count("GET /v1/connect") >= 2)
        await eventually(lambda: "POST /cecochat.v1.Messaging/Chat" in front.said)
        assert "POST /cecochat.v1.History/GetChats" in front.said
        parts = token.split(".")
        assert [part for part in parts if part in front.said] == []
        assert "token" not in front.said.replace("token-secret", "")


async def test_a_flood_fills_no_disk_with_the_access_log(
    tmp_path: Path, backends: Backends
) -> None:
    """574,000 calls without a token, each given up at once, were a line each: 71 MB."""
    async with behind_an_edge(tmp_path, backends) as (_, front):
        async with peer(front.address) as flooder:
            for number in range(FLOODED):
                call_ = http2.call("/cecochat.v1.Messaging/Chat")
                begun = frame(HEADERS, call_, 2 * number + 1, END_HEADERS)
                cancelled = frame(RST_STREAM, struct.pack(">I", 8), 2 * number + 1)
                await flooder.say(begun + cancelled)
            await eventually(lambda: front.said.count("POST /cecochat") >= LOGGED // 2)
            await asyncio.sleep(1)
        lines = front.said.count("POST /cecochat")
        assert lines <= LOGGED + 100, f"{lines} lines"


async def test_streams_outlive_silence_and_a_new_certificate(
    tmp_path: Path, backends: Backends, transport: TransportName
) -> None:
    """The client that came under the old certificate goes on, and a later one sees the new one."""
    old, new = (certificates(tmp_path / name) for name in ("old", "new"))
    pair, trusted = tmp_path / "the edge's.pem", tmp_path / "trusted.pem"
    trusted.write_text(old.ca_file.read_text() + new.ca_file.read_text())
    use(old, pair)
    settings = {"CECOCHAT_EDGE_CERT_FILE": str(pair), **HEADERS_S}
    async with behind_an_edge(tmp_path, backends, settings) as (server, front):
        assert server.connect_url == f"https://{front.address}"
        tokens = [mint(server.secret_file, user) for user in ("alice", "bob")]
        async with (
            connect(server.connect_url, tokens[0], ca_file=trusted, transport=transport) as alice,
            connect(server.connect_url, tokens[1], ca_file=trusted, transport=transport) as bob,
        ):
            heard = asyncio.create_task(until(bob, "at last"))
            await asyncio.wait([heard], timeout=SILENT_S)
            use(new, pair)
            await eventually(lambda: shown(front.address, new), ARRIVES_WITHIN_S)
            await alice.send("bob", "at last")
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                events = await heard
            assert not any(isinstance(event, Reconnecting) for event in events)


def use(signed: Signed, pair: Path) -> None:
    """Certificate and key in one file, as the edge takes it."""
    pair.write_text(signed.cert_file.read_text() + signed.key_file.read_text())


async def shown(address: str, signed: Signed) -> bool:
    """Whether the edge shows that certificate."""
    host, _, port = address.rpartition(":")
    found = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return found.split() == signed.cert_file.read_text().split()


async def until(client: Client, text: str) -> list[Event]:
    """All events up to the message with that text."""
    events: list[Event] = []
    async for event in client:
        events.append(event)
        if isinstance(event, Message) and event.text == text:
            break
    return events


async def test_a_certificate_that_cannot_be_used_changes_nothing(
    tmp_path: Path, backends: Backends
) -> None:
    signed, pair = certificates(tmp_path), tmp_path / "edge.pem"
    use(signed, pair)
    settings = {"CECOCHAT_EDGE_CERT_FILE": str(pair)}
    async with edge(free_address(), tmp_path, backends, settings) as front:
        pair.write_text("half of a certificate")
        await eventually(lambda: "the edge keeps its old configuration" in front.said)
        why = front.said.partition("HAProxy rejects the configuration: ")[2]
        assert str(pair) in why, "it says what is wrong"
        assert await shown(front.address, signed)


async def test_it_ends_with_the_process_that_runs_it(tmp_path: Path, backends: Backends) -> None:
    async with edge(free_address(), tmp_path, backends) as front:
        pids = front.pids
        assert len(pids) >= 2
        front.process.kill()
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_a_server_that_others_can_reach_says_so(tmp_path: Path) -> None:
    async with running(tmp_path / "loopback") as server:
        assert "without an edge" not in server.said
    async with running(tmp_path / "open", {"CECOCHAT_HOST": "0.0.0.0"}) as server:
        assert "without an edge" in server.said


async def test_what_is_shown_is_what_haproxy_takes(backends: Backends) -> None:
    backends.program("haproxy")
    shown = await command({"CECOCHAT_EDGE": "chat.example.com:8443"}, "edge", "show")
    assert "bind 0.0.0.0:8443\n" in shown
    refused = await command({"CECOCHAT_EDGE": "chat.example.com"}, "edge", "show", code=2)
    assert "use the host and port that clients are told" in refused


async def test_the_edge_takes_nobody_for_a_server_without_its_authority(
    tmp_path: Path, backends: Backends, transport: TransportName
) -> None:
    """All the way is encrypted; who sits at the address of a server is told nothing."""
    behind, other = certificates(tmp_path / "behind"), certificates(tmp_path / "other")
    front = certificates(tmp_path / "front")
    pem, ca_file = tmp_path / "edge.pem", tmp_path / "trusted.pem"
    use(front, pem)
    ca_file.write_bytes(behind.ca_file.read_bytes())
    settings = {
        "CECOCHAT_EDGE_CERT_FILE": str(pem),
        "CECOCHAT_EDGE_CA_FILE": str(ca_file),
        "CECOCHAT_TLS_CERT_FILE": str(behind.cert_file),
        "CECOCHAT_TLS_KEY_FILE": str(behind.key_file),
        "CECOCHAT_INTERNAL_CA_FILE": str(behind.ca_file),
        "CECOCHAT_INTERNAL_CERT_FILE": str(behind.cert_file),
        "CECOCHAT_INTERNAL_KEY_FILE": str(behind.key_file),
    }
    async with behind_an_edge(tmp_path / "up", backends, settings) as (server, started):
        url = server.connect_url
        tokens = [mint(server.secret_file, user) for user in ("alice", "bob")]
        async with connect(url, tokens[1], ca_file=front.ca_file, transport=transport) as bob:
            async with connect(url, tokens[0], ca_file=front.ca_file, transport=transport) as alice:
                await alice.send("bob", "encrypted all the way")
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                await until(bob, "encrypted all the way")
        ca_file.write_bytes(other.ca_file.read_bytes())
        await eventually(lambda: "uses a new configuration" in started.said, within_s=90)
        verify = ssl.create_default_context(cafile=front.ca_file)
        async with httpx.AsyncClient(trust_env=False, verify=verify) as client:

            async def refused() -> bool:
                headers = {"authorization": f"Bearer {tokens[0]}"}
                try:
                    answer = await client.get(f"{url}/v1/connect", headers=headers)
                except httpx.RemoteProtocolError:
                    return False  # the edge left this connection when it took the configuration
                return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE

            await eventually(refused, within_s=90)
