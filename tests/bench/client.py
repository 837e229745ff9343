"""What the Python client and the server pay for a message, over each transport:
`python -m tests.bench.client`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from cecochat.client import Client, Message, connect
from tests.bench.meter import cpu_s
from tests.support.pipes import TRANSPORTS, TransportName
from tests.support.rawclient import mint
from tests.support.server import Server, running

MESSAGES = 2_000
WINDOWS = (1, 16)
TEXT = "x" * 256


async def measure(server: Server, transport: TransportName, window: int) -> dict[str, float]:
    """One sends, another listens, in this process; `window` messages are unanswered at a time."""
    one, other = (f"{name}-{transport}-{window}" for name in ("one", "other"))
    url, tokens = server.connect_url, [mint(server.secret_file, user) for user in (one, other)]
    async with (
        connect(url, tokens[0], transport=transport, listen=False) as sender,
        connect(url, tokens[1], transport=transport) as listener,
        asyncio.TaskGroup() as group,
    ):
        began_s, own_s, server_s = time.monotonic(), time.process_time(), cpu_s(server.pid)
        listening = group.create_task(_listen(listener))
        await _send(sender, other, window)
        await listening
        each = 1_000 / MESSAGES
        return {
            "per_s": round(MESSAGES / (time.monotonic() - began_s)),
            "client_cpu_s_per_1000": round((time.process_time() - own_s) * each, 3),
            "server_cpu_s_per_1000": round((cpu_s(server.pid) - server_s) * each, 3),
        }


async def _send(client: Client, to: str, window: int) -> None:
    room = asyncio.Semaphore(window)
    for _ in range(MESSAGES):
        await room.acquire()
        (await client.post(to, TEXT)).add_done_callback(lambda _: room.release())


async def _listen(client: Client) -> None:
    left = MESSAGES
    async for event in client:
        left -= isinstance(event, Message)
        if not left:
            return


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as server:
            for window in WINDOWS:
                for transport in TRANSPORTS:
                    print(transport, window, await measure(server, transport, window))
                    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
