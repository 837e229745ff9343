"""Connections of people without a token: more than a server had descriptors for, each of which says
a byte now and then, and thousands that say nothing.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import quantiles

import httpx
import pytest

from tests.hostile.silence import TRICKLING, Trickling, idle
from tests.support import operators
from tests.support.rawclient import mint
from tests.support.results import write
from tests.support.server import Server, started

IDLE = 5_000
WITHIN_S = 120.0  # 10 s, the time until Sanic looks, and that of a busy machine


async def looked_up(server: Server, client: httpx.AsyncClient, until_s: float) -> list[float]:
    """How long lookups take and what operators ask, in s, one after the other until then."""
    url, internal = server.connect_url, server.ready["health"]["connect"]
    asked: list[tuple[str, dict[str, str]]] = [(f"{url}/livez", {})]
    asked += [
        (f"{internal}/{path}", operators.headers()) for path in ("livez", "readyz", "metrics")
    ]
    took_s: list[float] = []
    while time.monotonic() < until_s:
        user = f"user{len(took_s)}"  # one alone may not look up so often
        lookup = {"authorization": f"Bearer {mint(server.secret_file, user)}"}
        for where, headers in [(f"{url}/v1/connect", lookup), *asked]:
            begun_s = time.monotonic()
            # a connection of its own each: what is already open would say nothing
            answer = await client.get(where, headers=headers)
            assert answer.status_code == 200, answer.text
            took_s.append(time.monotonic() - begun_s)
        await asyncio.sleep(0.05)
    return took_s


@pytest.mark.timeout(420)
async def test_those_who_say_little_starve_nobody(tmp_path: Path) -> None:
    async with started(Server(tmp_path)) as server:
        host, port = "127.0.0.1", httpx.URL(server.connect_url).port
        assert port
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            quiet_s = await looked_up(server, client, time.monotonic() + 3)
            those = [Trickling() for _ in range(TRICKLING)]
            async with idle(host, port, IDLE), asyncio.TaskGroup() as group:
                for each in those:
                    group.create_task(each.run(host, port))
                flooded_s = await looked_up(server, client, time.monotonic() + 8)
        longest_s = max(each.ended_after_s or 0.0 for each in those)
        figures = {
            "trickling": TRICKLING,
            "idle": IDLE,
            "longest_request_s": round(longest_s, 1),
            "quiet_p99_ms": round(quantiles(quiet_s, n=100)[98] * 1_000, 1),
            "flooded_p99_ms": round(quantiles(flooded_s, n=100)[98] * 1_000, 1),
        }
        print(write("hostile-trickle", figures), figures)
        assert longest_s < WITHIN_S, figures
