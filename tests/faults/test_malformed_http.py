"""Hostile HTTP on the connect and health ports: typed JSON or a closed connection, and nothing of
how the server is built.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from random import Random

import pytest

from cecochat.v1.errors_pb2 import ErrorCode
from tests.support.hostile import bearer, http, inside, judge_text, minted

CLOSE = b"Host: localhost\r\nConnection: close\r\n"
NAMES = [value.name for value in ErrorCode.DESCRIPTOR.values]
CODES = {name.removeprefix("ERROR_CODE_").lower() for name in NAMES}
GET = b"GET /v1/connect HTTP/1.1\r\n" + CLOSE
REQUESTS = {
    b"POST /v1/connect HTTP/1.1\r\n" + CLOSE + b"Content-Length: 2\r\n\r\n{}": 405,
    b"DELETE /livez HTTP/1.1\r\n" + CLOSE + b"\r\n": 405,
    b"TRACE /livez HTTP/1.1\r\n" + CLOSE + b"\r\n": 405,
    b"BREW /livez HTTP/1.1\r\n" + CLOSE + b"\r\n": 405,
    b"CONNECT example.org:80 HTTP/1.1\r\n" + CLOSE + b"\r\n": 400,
    b"GET /../../etc/passwd HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET //v1//connect/../connect HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET /\xff\xfe HTTP/1.1\r\n" + CLOSE + b"\r\n": 400,
    b"GET /%00 HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET /%ff%fe HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET /<script>alert(1)</script> HTTP/1.1\r\n" + CLOSE + b"\r\n": 404,
    b"GET http://[::1/ HTTP/1.1\r\n" + CLOSE + b"\r\n": 400,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n": 413,
    GET + b"X: " + b"x" * 100_000 + b"\r\n\r\n": 413,
    GET + b"X: x\r\n" * 20_000 + b"\r\n": 413,
    GET + b"Content-Length: 10000000\r\n\r\nx": 401,
    GET + b"Content-Length: -1\r\n\r\n": 400,
    GET + b"Content-Length: many\r\n\r\n": 400,
    GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n": 401,  # a body is not read
    GET + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n\r\n": 401,
    GET + b"Expect: 200-ok\r\n\r\n": 401,
    b"GET / HTTP/9.9\r\n\r\n": 400,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": 400,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 400,
    b"\r\n\r\n\r\n": 400,
}


def judged(answer: bytes, request: bytes) -> int:
    """The status, once the answer is typed JSON that leaks nothing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"\nserver:" not in head.lower(), head
    assert b"sanic" not in answer.lower(), answer
    assert status not in (500, 502), (request[:200], answer)
    if status >= 400:
        error = json.loads(body)["error"]
        assert error["code"] in CODES - {"unspecified", "internal"}, error
        judge_text(error["message"])
    return status


async def test_hostile_requests_are_answered_as_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as addresses:
        for url in (addresses.connect, addresses.history_http, *addresses.health.values()):
            for request, expected in REQUESTS.items():
                answer = await http(url, request)
                status = judged(answer, request)
                known = b"/livez" in request or b"/v1/connect" in request
                if url == addresses.connect or not known:
                    assert status == expected, (request[:200], answer[:500])
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_garbage_behind_a_good_request(tmp_path: Path, rng: Random) -> None:
    """Pipelining: the first answer is whole; what follows is answered or the connection closed."""
    async with inside(tmp_path) as addresses:
        good = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(50):
            answer = await http(addresses.connect, good + rng.randbytes(200) + b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
            first_end = answer.index(b"}") + 1
            if rest := answer[first_end:]:
                judged(rest, b"")
        many = await http(
            addresses.connect, good * 99 + b"GET /livez HTTP/1.1\r\n" + CLOSE + b"\r\n"
        )
        assert many.count(b"200 OK") == 100


async def test_noise_on_every_port(
    tmp_path: Path, rng: Random, caplog: pytest.LogCaptureFixture
) -> None:
    """On the gRPC ports too; afterwards all of them still answer."""
    async with inside(tmp_path) as addresses:
        urls = [
            *addresses.health.values(),
            addresses.connect,
            addresses.messaging,
            addresses.history,
            addresses.history_http,
        ]
        async with asyncio.TaskGroup() as group:
            for url in urls:
                for _ in range(20):
                    noise = rng.randbytes(rng.randint(1, 5_000)) + b"\r\n\r\n"
                    group.create_task(http(url, noise))
        secret = addresses.token_secret_file
        assert secret
        ((name, value),) = bearer(minted(secret, sub="alice"))
        answer = await http(addresses.connect, GET + f"{name}: {value!s}\r\n\r\n".encode())
        assert judged(answer, GET) == 200
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["messaging"] == addresses.messaging
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
