"""A crowd in a process of its own, so that it can live in a network namespace of its own.

`nsenter --net=NAMESPACE python -m tests.cluster.crowd --connect URL ...` prints "talking" when all
are connected and talk. Each line that it reads is a question, answered with one line of JSON:
`felt`: what they went through since they were asked last. `judge`: they stop, all arrives, and what
the oracle finds. It ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from itertools import cycle, pairwise
from pathlib import Path
from random import Random
from typing import Any

from typing_extensions import override

from cecochat.domain.log.ids import time_ms
from tests.support.crowd import Crowd
from tests.support.evidence import absences
from tests.support.hostile import minted
from tests.support.records import Acked, Entry, Refused, Sent
from tests.support.traffic import flowing, ring

SETTLED_WITHIN_S = 120.0
TOKENS_VALID_S = 86_400.0
KEEPALIVE = (("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000))
"""A machine that is gone says nothing: gRPC has to ask."""


class OfAnyClock(Crowd):
    """Its tokens hold on servers whose clocks are an hour ahead or behind: they have no `iat`."""

    @override
    def token(self, user_id: str) -> str:
        return minted(str(self.secret_file), sub=user_id, exp=time.time() + TOKENS_VALID_S)


async def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connect", action="append", required=True, metavar="URL")
    parser.add_argument("--secret", type=Path, required=True)
    parser.add_argument("--prefix", required=True, help="of the names of users")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    parser.add_argument("--seed", required=True)
    given = parser.parse_args(argv)
    urls = cycle(given.connect)
    # Over gRPC, whose keepalive notices machines that are gone.
    crowd = OfAnyClock(lambda: next(urls), given.secret, transport="grpc")
    who, chats = ring(given.users, given.prefix)
    questions = await _lines()
    for each in who:
        crowd.device(each, chats).options = KEEPALIVE
    async with crowd.connected(who, chats):
        async with flowing(list(crowd.devices.values()), given.rate, Random(given.seed)):
            say("talking")
            await _answer(questions, crowd)
        say(await _judged(crowd))


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


async def _answer(questions: asyncio.StreamReader, crowd: Crowd) -> None:
    mark = 0
    while (question := (await questions.readline()).decode().strip()) == "felt":
        entries = crowd.record.entries[mark:]
        mark += len(entries)
        say(felt(entries))
    if question != "judge":
        raise SystemExit(f"asked {question!r}, not felt or judge")


def felt(entries: list[Entry]) -> dict[str, Any]:
    """Figures of a part of a record. `silence_s`: the longest time without any ack; `clocks_s`: how
    far from this clock those were that the ids of the acknowledged were stamped by, least and most.
    """
    times = [entry.at_s for entry in entries if isinstance(entry.what, Acked)]
    clock_s = time.time() - time.monotonic()
    clocks = [
        time_ms(entry.what.message_id) / 1_000 - entry.at_s - clock_s
        for entry in entries
        if isinstance(entry.what, Acked)
    ]
    edges = [entries[0].at_s, *times, entries[-1].at_s] if entries else [0.0]
    away = [each.lasted_s for each in absences(entries)]
    return {
        "sent": _count(entries, Sent),
        "acked": len(times),
        "refused": _count(entries, Refused),
        "clocks_s": [round(min(clocks), 2), round(max(clocks), 2)] if clocks else [],
        "silence_s": max((b - a for a, b in pairwise(edges)), default=0.0),
        "absences": len(away),
        "away_max_s": max(away, default=0.0),
    }


def _count(entries: list[Entry], kind: type) -> int:
    return sum(isinstance(entry.what, kind) for entry in entries)


async def _judged(crowd: Crowd) -> dict[str, Any]:
    found = await crowd.settle(within_s=SETTLED_WITHIN_S)
    return {
        "violations": [str(each) for each in found],
        "acked": _count(crowd.record.entries, Acked),
        "record": crowd.record.dump() if found else "",
    }


def say(what: object) -> None:
    print(what if isinstance(what, str) else json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
