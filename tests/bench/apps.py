"""What others wait while all users of an app send as fast as they may, without a limit of the app
and with one: `make bench ARGS="--apps 3"`. Quiet and flooded take turns in one run.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from itertools import count
from pathlib import Path

from cecochat.auth.minting import mint
from cecochat.settings import private
from tests.bench import floods
from tests.bench.floods import TEXT, Figures, Others
from tests.hostile.flooding import SESSIONS
from tests.integration.streams import caught_up, message
from tests.support.commands import run
from tests.support.rawclient import find
from tests.support.server import Server

APP = "shop"
USERS = 4 * SESSIONS  # each may send 20/s for long
FRAME_SENDS = 20
LIMITS = {"free": "1000000", "limited": "100"}  # sends/s of the app
STARTS_S = 4.0  # until all of them send


async def flood(connect_url: str, secret: Path, seconds: float) -> int:
    """Send as all of the app's users at once. Returns how many sends were accepted."""
    sent = [0] * USERS

    async def sends(number: int) -> None:
        user = f"{APP}/user{number}"
        token = mint(private.drawn_secret(secret), user, 3_600)
        address = (await find(connect_url, token)).messaging
        async with caught_up(address, token) as stream:
            for first in count(step=FRAME_SENDS):
                ids = (f"{os.getpid()}-{first + n}" for n in range(FRAME_SENDS))
                await stream.send(*(message(each, f"d:{APP}/all~{user}", TEXT) for each in ids))
                for _ in range(FRAME_SENDS):
                    await stream.until("ack")
                    sent[number] += 1

    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for number in range(USERS):
                group.create_task(sends(number))
    except TimeoutError:
        pass
    return sum(sent)


async def _both(server: Server, others: Others, turn: int) -> dict[str, float]:
    if not turn:
        await run(server, "apps", "add", APP)
    figures: dict[str, float] = {}
    for name, limit in LIMITS.items():
        await run(server, "config", "set", f"app.{APP}.sends.rate_per_app", limit)
        await asyncio.sleep(floods.OVER_S)
        quiet = await others.waited(floods.SECONDS)
        seconds = STARTS_S + floods.SECONDS
        flooding = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.apps", server.connect_url,
            f"{server.secret_file}", f"{seconds}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await asyncio.sleep(STARTS_S)
        flooded = await others.waited(floods.SECONDS)
        out, _ = await flooding.communicate()
        figures[f"{name}_sends_per_s"] = int(out) / seconds
        for what, before in quiet.items():
            figures[f"{name}_{what}_p99_ms"] = flooded[what]
            figures[f"{name}_{what}_ratio"] = flooded[what] / before
    return figures


def main(rounds: int) -> Figures:
    """On a fresh server, with the limits that it comes with beside that of the app."""
    with tempfile.TemporaryDirectory() as folder:
        return {"apps": asyncio.run(floods.quiet_and_busy(Path(folder), rounds, _both))}


if __name__ == "__main__":
    os.nice(10)  # those who measure come first: real users come from other machines
    given = sys.argv[1:]
    print(asyncio.run(flood(given[0], Path(given[1]), float(given[2]))))
