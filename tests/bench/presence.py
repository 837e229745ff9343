"""What messages wait while 100,000 times a minute somebody comes or goes:
`make bench ARGS="--presence 5"`. Quiet and busy take turns in one run: a busy machine hits both.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from cecochat.v1.messaging_pb2 import ClientFrame, Hello, ServerFrame, Watch
from tests.bench import floods
from tests.bench.floods import BEGINS_S, SECONDS, Figures, Others
from tests.bench.meter import cpu_s
from tests.hostile.flooding import bearer, channel
from tests.support.pipes import CHAT
from tests.support.rawclient import mint
from tests.support.records import dialog
from tests.support.server import Server

USERS = 180  # who hide and show themselves in turn: for others, they come and go
EVERY_S = 0.108  # above the tenth of a second in which changes of a user are told as one
CHATS = 60  # that a session watches
OF_A_CONNECTION = 60
STARTS_S = 4.0


async def load(messaging: str, secret: Path, seconds: float) -> float:
    """Change the presence of all users in turn. Returns how many changes were told, a second."""
    told = [0]
    until_s = time.monotonic() + seconds
    names = [f"here{number}" for number in range(USERS)]
    async with asyncio.TaskGroup() as group:
        for first in range(0, USERS, CHATS):
            watched = names[first : first + CHATS]
            group.create_task(_watch(messaging, secret, f"watcher{first}", watched, told, until_s))
        for first in range(0, USERS, OF_A_CONNECTION):
            opened = channel(messaging)
            for name in names[first : first + OF_A_CONNECTION]:
                group.create_task(_comes_and_goes(opened, mint(secret, name), until_s))
    return told[0] / (seconds - STARTS_S)


async def _watch(
    messaging: str, secret: Path, me: str, names: list[str], told: list[int], until_s: float
) -> None:
    call: Any = channel(messaging).stream_stream(CHAT)(metadata=bearer(mint(secret, me)))
    await call.write(ClientFrame(hello=Hello()).SerializeToString())
    await asyncio.sleep(STARTS_S / 2)
    watch = Watch(chat_ids=[dialog(me, name) for name in names])
    await call.write(ClientFrame(watch=watch).SerializeToString())
    with suppress(TimeoutError):
        async with asyncio.timeout(until_s - time.monotonic()):
            while True:
                frame = ServerFrame.FromString(await call.read())
                told[0] += sum(item.HasField("signal") for item in frame.items)
    call.cancel()


async def _comes_and_goes(opened: grpc.aio.Channel, token: str, until_s: float) -> None:
    call: Any = opened.stream_stream(CHAT)(metadata=bearer(token))
    await call.write(ClientFrame(hello=Hello()).SerializeToString())
    await asyncio.sleep(STARTS_S)
    for invisible in _in_turn(until_s):
        await call.write(ClientFrame(invisible=invisible).SerializeToString())
        await asyncio.sleep(EVERY_S)
    call.cancel()


def _in_turn(until_s: float) -> Iterator[bool]:
    for number in count():
        if time.monotonic() > until_s:
            return
        yield number % 2 == 0


async def _both(server: Server, others: Others, turn: int) -> dict[str, float]:
    await asyncio.sleep(floods.OVER_S)
    quiet = await others.waited(SECONDS)
    changing = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.presence", server.ready["messaging"],
        f"{server.secret_file}", f"{STARTS_S + BEGINS_S + SECONDS}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(STARTS_S + BEGINS_S)
    before_s = cpu_s(server.pid)
    busy = await others.waited(SECONDS)
    used_s = cpu_s(server.pid) - before_s
    out, _ = await changing.communicate()
    figures = {"changes_per_s": json.loads(out), "server_cpu": used_s / SECONDS}
    for what, before in quiet.items():
        figures |= {f"{what}_quiet_p99_ms": before, f"{what}_busy_p99_ms": busy[what]}
    return figures


def main(rounds: int) -> Figures:
    """On a fresh server, with the limits that it comes with."""
    with tempfile.TemporaryDirectory() as folder:
        return {"presence": asyncio.run(floods.quiet_and_busy(Path(folder), rounds, _both))}


if __name__ == "__main__":
    os.nice(10)  # those who measure come first: real users come from other machines
    given = sys.argv[1:]
    print(asyncio.run(load(given[0], Path(given[1]), float(given[2]))))
