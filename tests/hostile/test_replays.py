"""One user who has the log read from its start on every stream that a user may have."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from cecochat.client import connect
from tests.hostile.flooding import VICTIM
from tests.support.rawclient import find, mint
from tests.support.server import Server, running

USER = "mallory"
MESSAGES = 20_000
SECONDS, BEGINS_S, LOOKUPS = 12.0, 3.0, 40
FROM_THE_LOG = {"tail.max_bytes": 0}


async def test_others_go_on_while_a_user_is_brought_everything_on_every_stream(
    tmp_path: Path,
) -> None:
    """A message of others took 2.2 s, a lookup 0.9 s, of 120,000 messages in one partition."""
    async with running(tmp_path, configuration=FROM_THE_LOG) as server:
        await fill(server)
        quiet_s = await looked_up_s(server)
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.hostile.flooding", "replays", json.dumps(server.ready),
            "--user", USER, "--token", mint(server.secret_file, USER), "--seconds", str(SECONDS),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.sleep(BEGINS_S)
        flooded_s = await looked_up_s(server)
        brought, _ = await flood.communicate()
    print(f"a lookup: {quiet_s * 1e3:.0f} ms, {flooded_s * 1e3:.0f} ms; {int(brought)} frames")
    assert int(brought) > 100, "nothing was brought, so nothing was shown"
    assert flooded_s < 5 * quiet_s + 0.3


async def fill(server: Server) -> None:
    async with connect(server.connect_url, mint(server.secret_file, USER), listen=False) as client:
        for _ in range(MESSAGES // 500):
            await asyncio.gather(*(client.send(VICTIM, "x" * 100) for _ in range(500)))


async def looked_up_s(server: Server) -> float:
    """The median."""
    taken = []
    for number in range(LOOKUPS):
        begun_s = time.monotonic()
        await find(server.connect_url, mint(server.secret_file, f"other{number}"))
        taken.append(time.monotonic() - begun_s)
        await asyncio.sleep(0.05)
    return statistics.median(taken)
