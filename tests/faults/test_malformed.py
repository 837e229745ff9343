"""100,000 random and mutated frames over real streams of both transports: each is answered as the
protocol says, and those who talk meanwhile notice nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from statistics import quantiles

import pytest

from cecochat.v1 import errors_pb2
from tests.bench.meter import rss_bytes
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.hostile import metric, minted
from tests.support.listeners import target_of
from tests.support.mutate import Conversation, conversation, corpus
from tests.support.pipes import TRANSPORTS, TransportName
from tests.support.records import Delivered, Record, Sent
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.talks import Talks, is_much_of_a_stranger, talks
from tests.support.traffic import flowing, ring

FRAMES = 100_000
WORKERS = 8
FRAMES_A_STREAM = 40
SETTLED = FRAMES // 4  # by then caches and tails are full
GREW_MAX_KB = 40_000
MAY_BE_TOLD = {
    *("INVALID_ARGUMENT", "FORBIDDEN", "NOT_FOUND", "REUSED_ID", "TOO_LARGE", "UNIMPLEMENTED"),
}
CATCH_UP = errors_pb2.ERROR_CODE_CATCH_UP


class Attack:
    """Hostile users who stream as fast as they are answered, over the transports in turn."""

    def __init__(self, server: Server, seed: int) -> None:
        self.examined = 0
        self.streams: Counter[TransportName] = Counter()
        self.lost = 0  # answers that the client library did not keep, see `talk`
        self.answers: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.rss_settled_kb = 0
        self._server, self._seed = server, seed

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._worker(number))

    async def _worker(self, number: int) -> None:
        rng = Random(f"{self._seed} hostile {number}")
        user, peer = f"hostile-{number:02}", f"hostile-{(number + 1) % WORKERS:02}"
        frames = corpus(user, peer)
        token = minted(str(self._server.secret_file), sub=user)
        ready = self._server.ready
        transport = TRANSPORTS[number % len(TRANSPORTS)]
        async with talks(transport, ready["messaging"], ready["websocket"]) as made:
            while self.examined < FRAMES:
                said = conversation(rng, frames, FRAMES_A_STREAM)
                if transport == "websocket" and is_much_of_a_stranger(said.frames[0]):
                    continue
                await self._stream(made, token, said)
                self.streams[transport] += 1

    async def _stream(self, made: Talks, token: str, said: Conversation) -> None:
        answer = await made.talk(token, said.frames)
        if answer.made_up:
            self.lost += 1
            return
        answer.judged()
        assert answer.error is not None
        self.answers[answer.code] += 1
        for item in answer.items:
            if item.HasField("refused"):
                code = errors_pb2.ErrorCode.Name(item.refused.error.code)
                self.refused[code.removeprefix("ERROR_CODE_")] += 1
        if answer.error.code == CATCH_UP:
            return  # a mutated offset: the frames behind it were not looked at
        assert answer.error.code == said.ends_with, (answer, said)
        self.examined += len(said.frames)
        if not self.rss_settled_kb and self.examined > SETTLED:
            self.rss_settled_kb = rss_bytes(self._server.pid) >> 10


@pytest.mark.timeout(1_800)
async def test_100_000_hostile_frames_among_honest_ones(
    tmp_path: Path, base_seed: int, rng: Random
) -> None:
    async with running(tmp_path, configuration={"tail.max_bytes": 65_536}) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        who, chats = ring(6)
        attack = Attack(server, base_seed)
        async with crowd.connected(who, chats):
            sockets = open_sockets(server.pid)
            began_s = time.monotonic()
            async with flowing([crowd.devices[each] for each in who], 50, rng):
                await attack.run()
            took_s = time.monotonic() - began_s
            assert await crowd.settle() == [], "the honest ones noticed"
            grew_kb = (rss_bytes(server.pid) >> 10) - attack.rss_settled_kb
            figures = {
                "seed": base_seed,
                "frames": attack.examined,
                "streams": dict(attack.streams),
                "answers_lost_by_the_client_library": attack.lost,
                "took_s": round(took_s, 1),
                "honest_p99_ms": p99_ms(server.record),
                "grew_kb": grew_kb,
                "ended_with": dict(attack.answers),
                "refused_with": dict(attack.refused),
            }
            print(write("malformed", figures))
            assert attack.streams.keys() == set(TRANSPORTS)
            assert set(attack.refused) <= MAY_BE_TOLD
            assert set(attack.refused) == MAY_BE_TOLD, "some checks of sends were never reached"
            assert grew_kb < GREW_MAX_KB, figures
            assert attack.lost <= attack.streams.total() // 100, figures
            await eventually(lambda: open_sockets(server.pid) <= sockets + 2)
            health = server.ready["health"]["messaging"]
            assert await metric(health, "cecochat_sessions") == len(who)
        assert not complaints(server.said), server.said[:3_000]


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if "Traceback" in line or " ERROR " in line]


def open_sockets(pid: int) -> int:
    """What a connection that is left over would hold; files are opened lazily, by few threads."""
    open_files = Path(f"/proc/{pid}/fd").iterdir()
    return sum(target_of(file).startswith("socket:") for file in open_files)


def p99_ms(record: Record) -> float:
    """Of the honest ones: from a send to its receipt by another."""
    sent_s: dict[tuple[str, str], float] = {}
    took_ms: list[float] = []
    for at_s, who, _, what in record.entries:
        match what:
            case Sent(client_message_id):
                sent_s[who.user_id, client_message_id] = at_s
            case Delivered(_, message) if who.user_id != message.user_id:
                took_ms.append((at_s - sent_s[message.user_id, message.client_message_id]) * 1_000)
            case _:
                pass
    return round(quantiles(took_ms, n=100)[98], 1)
