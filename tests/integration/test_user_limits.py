"""Whatever a user can do often is limited: each thing by attacking the real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cecochat.runtime import tarpit
from cecochat.v1.messaging_pb2 import ClientFrame
from tests.integration.streams import Stream, message
from tests.integration.systems import Running, running

RATE_PER_S, BURST = 100.0, 50
LIMITS = {"sends.rate_per_user": RATE_PER_S, "sends.burst": BURST}
MORE = 150
Frame = Callable[[Running], ClientFrame]


@pytest.mark.usefixtures("over_each")
@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(lambda _: ClientFrame(), id="empty"),
        pytest.param(lambda system: ClientFrame(renewed_token=system.token("alice")), id="renewal"),
    ],
)
async def test_a_frame_counts_as_a_send_at_least(tmp_path: Path, frame: Frame) -> None:
    """10,000 renewals a second, each the check of a signature, once moved what others waited for
    from 7 to 61 ms.
    """
    loop = asyncio.get_running_loop()
    async with running(tmp_path, LIMITS) as system, system.stream("alice") as alice:
        begun_s = loop.time()
        for _ in range(MORE):
            await alice.write(frame(system))
        await alice.send(message("after", "d:alice~bob"))
        await alice.until("ack")
        assert loop.time() - begun_s > (MORE - BURST) / RATE_PER_S * 0.95


async def test_of_a_stream_that_is_read_no_further_little_waits(tmp_path: Path) -> None:
    """It was megabytes; 300,000 frames without anything in them. (Over WebSocket, nearly all of it
    would wait in the kernel's buffer of the client.)
    """
    frame = ClientFrame(sends=[message("1", "d:alice~bob", "x" * 16_000)]).SerializeToString()
    limits = {"sends.rate_per_user": 0.1, "sends.burst": 1}
    async with running(tmp_path, limits) as system, system.stream("alice") as alice:
        taken = await taken_before_it_waits(alice, frame)
        assert taken * len(frame) < 256 << 10, "what the client's own buffers hold included"


async def taken_before_it_waits(stream: Stream, frame: bytes) -> int:
    for number in range(100):
        try:
            async with asyncio.timeout(3):
                await stream.write(frame)
        except TimeoutError:
            return number
    return 100


async def test_lookups_of_a_user_have_a_rate(tmp_path: Path) -> None:
    limits = {"connects.rate_per_user": 0.01, "connects.burst": 3}
    async with running(tmp_path, limits) as system, httpx.AsyncClient() as client:
        answers = [await look_up(client, system, "alice") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        error = answers[-1].json()["error"]
        assert (error["code"], error["retriable"]) == ("rate_limited", True)
        assert int(answers[-1].headers["retry-after"]) > 10
        assert (await look_up(client, system, "bob")).is_success, "that is one user's limit"


async def look_up(client: httpx.AsyncClient, system: Running, user: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {system.token(user)}"}
    return await client.get(f"{system.addresses.connect}/v1/connect", headers=headers)


async def test_who_is_refused_without_end_is_told_late(tmp_path: Path) -> None:
    """Without a token even: as many refusals as one connection can ask for."""
    loop, late = asyncio.get_running_loop(), 150
    async with running(tmp_path) as system, httpx.AsyncClient() as client:
        begun_s = loop.time()
        for _ in range(tarpit.BURST + late):
            answer = await client.get(f"{system.addresses.connect}/v1/connect")
            assert answer.status_code == 401
        took_s = loop.time() - begun_s
    assert took_s > late / (tarpit.RATE_PER_S + 1) * 0.95, "the rate, and the one that waits"
