"""An endpoint of webhooks that a test starts and kills, and a judge of what it was told."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cecochat.domain.log.ids import is_group, partition_in
from tests.support.eventually import eventually
from tests.support.records import Acked, At, Delivered, Entry, Message, Record
from tests.support.server import FREE

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port of loopback that is free."""
    while True:
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", random.choice(FREE)))
            return int(listener.getsockname()[1])


@dataclass
class Receiver:
    """The program of tests/support/receiver.py: at most one process at a time, on one port."""

    file: Path
    port: int
    seed: int
    trouble: float = 0.0
    secret: str = ""
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def start(self) -> None:
        self.seed += 1
        words = (str(self.port), str(self.file), self.secret, str(self.seed), str(self.trouble))
        with (self.file.parent / "receiver.log").open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.receiver", *words), cwd=ROOT, stderr=errors
            )
        await eventually(self._answers)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def relent(self) -> None:
        """Have it take what it has refused for what it is."""
        Path(f"{self.file}.lenient").touch()

    def told(self) -> list[dict[str, Any]]:
        """What it took, in order, with repeats."""
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def first_told(self) -> dict[str, dict[str, Any]]:
        """By id, in the order in which each came first: the body."""
        found: dict[str, dict[str, Any]] = {}
        for line in self.told():
            body = found.setdefault(line["id"], line["body"])
            assert body == line["body"], f"{line['id']} came again as something else"
        return found


@asynccontextmanager
async def receiving(file: Path, seed: int, trouble: float = 0.0) -> AsyncIterator[Receiver]:
    """An endpoint that is not started yet, and that is gone afterwards whatever happens."""
    receiver = Receiver(file, free_port(), seed, trouble)
    try:
        yield receiver
    finally:
        await receiver.kill()


def message_ids(told: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The messages of each chat, in the order of the webhooks."""
    found: dict[str, list[int]] = defaultdict(list)
    for body in told:
        if body["type"] == "message.created":
            found[body["data"]["chatId"]].append(int(body["data"]["id"]))
    return found


def misordered(
    told: Mapping[str, Sequence[int]], late: frozenset[int], record: Record
) -> list[str]:
    """What is told in another order than the devices of the user who comes first in a dialog got
    it, than its sender sent it, or than the home of a group has it. `late`: what was replayed.
    """
    wrong = []
    for chat, ids in told.items():
        in_time = [each for each in ids if each not in late]
        if is_group(chat):
            orders = [in_time]
        else:
            orders = [[each for each in in_time if partition_in(each) == p] for p in range(4_096)]
        wrong += [chat for order in orders if order != sorted(order)]
        places = _places(record.entries, chat)
        known = [each for each in in_time if each in places]
        if known != sorted(known, key=places.__getitem__):
            wrong.append(f"{chat}: not as its devices")
    return wrong


def _places(entries: Sequence[Entry], chat: str) -> dict[int, At]:
    """Where the user who comes first in a dialog has its messages in the own partition's log."""
    first = chat[2:].partition("~")[0]
    own = [entry.what for entry in entries if entry.who.user_id == first]
    found = {
        each.message.message_id: At(each.clock_ms, each.offset)
        for each in own
        if isinstance(each, Delivered) and each.message.chat_id == chat
    }
    acked = {each.message_id: each for each in own if isinstance(each, Acked)}
    return found | {
        id_: At(acked[id_].clock_ms, acked[id_].offset) for id_ in acked.keys() & found.keys()
    }


def all_ids(histories: Mapping[str, Sequence[Message]]) -> dict[str, set[int]]:
    """The messages of each chat, by the history."""
    return {
        chat: {each.message_id for each in messages if each.text is not None}
        for chat, messages in histories.items()
    }
