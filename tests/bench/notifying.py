"""What users wait while a back end sends 10,000 notifications to 10,000 users:
`make bench ARGS="--notifying 5"`. Quiet and busy take turns in one run: a busy machine hits both.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cecochat.client.backend import Backend, Outgoing
from tests.bench import floods
from tests.bench.floods import TEXT, Figures, Others
from tests.bench.meter import cpu_s
from tests.support.backcaller import service_token
from tests.support.server import Server

MESSAGES = 10_000
QUIET_S = 6.0
STARTS_S = 2.0


async def load(connect_url: str, secret: Path, turn: str) -> float:
    """Send a message to each user. Returns how many seconds it took."""
    messages = [Outgoing("shop", f"user{n}", f"{turn}: {TEXT}") for n in range(MESSAGES)]
    async with Backend(connect_url, service_token(secret)) as backend:
        await asyncio.sleep(STARTS_S)
        begun_s = time.perf_counter()
        outcomes = await backend.send_all(messages)
        took_s = time.perf_counter() - begun_s
    assert len({each.message_id for each in outcomes if not each.error}) == MESSAGES
    return took_s


async def _both(server: Server, others: Others, turn: int) -> dict[str, float]:
    await asyncio.sleep(floods.OVER_S)
    quiet = await others.waited(QUIET_S)
    sending = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.notifying", server.connect_url,
        f"{server.secret_file}", f"{turn}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(STARTS_S)
    before_s, runs = cpu_s(server.pid), []
    out = asyncio.create_task(sending.communicate())
    while not out.done():
        runs.append(await others.waited(1.0))
    took_s = json.loads((await out)[0])
    used_s = cpu_s(server.pid) - before_s
    figures = {"took_s": took_s, "cpu_s_per_1000": used_s / MESSAGES * 1_000}
    for what, before in quiet.items():
        busy = statistics.median(each[what] for each in runs)
        figures |= {f"{what}_quiet_p99_ms": before, f"{what}_busy_p99_ms": busy}
        figures[f"{what}_ratio"] = busy / before
    return figures


def main(rounds: int) -> Figures:
    """On a fresh server, with the limits that it comes with."""
    with tempfile.TemporaryDirectory() as folder:
        return {"notifying": asyncio.run(floods.quiet_and_busy(Path(folder), rounds, _both))}


if __name__ == "__main__":
    os.nice(10)  # those who measure come first: real users come from other machines
    given = sys.argv[1:]
    print(asyncio.run(load(given[0], Path(given[1]), given[2])))
