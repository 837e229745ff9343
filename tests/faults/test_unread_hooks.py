"""An endpoint is told of users who are away while servers are killed, and while it is killed, slow
and refuses at random: once a silence, of each silence, and never of what was read before.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.auth.hooks import Signer
from cecochat.domain.hooks.endpoints import Endpoint, adding
from cecochat.domain.hooks.told import UNREAD
from cecochat.ports.configuration import CONFIGURATION, HOOKS
from cecochat.runtime.clock import now_ms
from cecochat.settings.settings import load
from cecochat.v1.events_pb2 import Receipt
from cecochat.v1.messaging_pb2 import Send
from tests.support import commands, operators
from tests.support.crowd import Crowd
from tests.support.device import Device
from tests.support.eventually import eventually
from tests.support.hooks import Receiver, receiving
from tests.support.processes import processes
from tests.support.records import Acked, DeviceKey, dialog
from tests.support.results import write
from tests.support.server import running

SLEEPERS = 16
DELAY_S = 2
TROUBLE = 0.1
SPEAKER = DeviceKey("speaker", "phone")
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1, "hooks": 2}
Die = Callable[[], Awaitable[None]]


@pytest.mark.parametrize(
    ("rounds", "partitions"),
    [
        pytest.param(3, 4, marks=pytest.mark.timeout(420)),
        pytest.param(15, 12, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)]),
    ],
)
async def test_each_silence_is_told_once(
    rounds: int, partitions: int, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    environment = {"CECOCHAT_PARTITIONS": str(partitions)}
    async with (
        running(tmp_path, environment) as server,
        receiving(tmp_path / "told", base_seed, TROUBLE) as receiver,
    ):

        async def die() -> None:
            await server.kill()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            await server.start()

        await commands.run(server, "config", "set", "hooks.unread_delay_s", f"{DELAY_S}")
        words = ("add", "shop", receiver.url, "--kind", UNREAD, "--data", str(server.data))
        (line,) = await commands.rows(server, "hooks", *words, "--json")
        receiver.secret = str(line["secret"])
        await receiver.start()
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        night = Night(crowd, receiver, rng)
        for number in range(rounds):
            await night.round(number, die)
        figures = night.judged(rounds)
    figures |= {"seed": base_seed, "rounds": rounds}
    print(write(f"unread-hooks-{rounds}-{partitions}", figures))


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [5])
@pytest.mark.timeout(1_800)
async def test_each_silence_of_a_cluster_is_told_once(
    rounds: int, on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """On Kafka and Cassandra, where hook servers and messaging servers are killed."""
    async with (
        processes(tmp_path, on_real, COUNTS) as cluster,
        receiving(tmp_path / "told", base_seed, TROUBLE) as receiver,
    ):

        async def die() -> None:
            victim = rng.choice(cluster.of("hooks") * 2 + cluster.of("messaging"))
            await victim.kill()
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            await victim.start()

        made = Endpoint("shop", receiver.url, now_ms(), kinds=(UNREAD,))
        async with build.configuration(load(cluster.environment)) as configuration:
            delay = {"hooks.unread_delay_s": DELAY_S}
            await configuration.change(CONFIGURATION, lambda old: {**old, **delay}, by="test")
            await configuration.change(HOOKS, adding(made), by="test")
        receiver.secret = Signer(operators.SECRET_FILE.read_bytes()).secret(made)
        await receiver.start()
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        night = Night(crowd, receiver, rng)
        for number in range(rounds):
            await night.round(number, die)
        figures = night.judged(rounds)
    figures |= {"seed": base_seed, "rounds": rounds}
    print(write(f"unread-hooks-{rounds}-kafka", figures))


class Night:
    """One user writes to many who are away. Some of them read it at once, the others once their
    endpoint was told.
    """

    def __init__(self, crowd: Crowd, receiver: Receiver, rng: Random) -> None:
        self._crowd = crowd
        self._receiver = receiver
        self._rng = rng
        names = [f"sleeper-{number:02}" for number in range(SLEEPERS)]
        self._chats = {name: dialog(SPEAKER.user_id, name) for name in names}
        self._speaker = crowd.device(SPEAKER, self._chats.values())
        self._read_ms: dict[str, int] = {}  # by message id: when its reader knew that it is read
        self._asleep: list[dict[str, set[str]]] = []  # of each round, by name: the messages' ids

    async def round(self, number: int, die: Die) -> None:
        said = await self._say(f"first {number}")
        awake = set(self._rng.sample(sorted(said), SLEEPERS // 4))
        asleep = {name: {id_} for name, id_ in said.items() if name not in awake}
        async with asyncio.TaskGroup() as group:
            for name in awake:
                group.create_task(self._read(name, said[name]))
            group.create_task(self._trouble(die))
        await eventually(lambda: asleep.keys() <= self._told_of(asleep), 120, every_s=0.2)
        later = await self._say(f"second {number}", asleep)
        await self._trouble(die)
        await asyncio.sleep(3 * DELAY_S)
        for name, id_ in later.items():
            asleep[name].add(id_)
        self._asleep.append(asleep)
        async with asyncio.TaskGroup() as group:
            for name, id_ in later.items():
                group.create_task(self._read(name, id_))

    def _told_of(self, messages: dict[str, set[str]]) -> set[str]:
        told = {body["data"]["messageId"] for body in self._receiver.first_told().values()}
        return {name for name, ids in messages.items() if ids & told}

    async def _say(self, text: str, names: dict[str, set[str]] | None = None) -> dict[str, str]:
        """Write to all of them; the ids of the messages by name."""
        chosen = self._chats if names is None else {name: self._chats[name] for name in names}
        sent = {name: self._speaker.say(chat, text) for name, chat in chosen.items()}
        await self._speaker.visit()
        acks = {
            entry.what.client_message_id: str(entry.what.message_id)
            for entry in self._crowd.record
            if entry.who == SPEAKER and isinstance(entry.what, Acked)
        }
        return {name: acks[key] for name, key in sent.items()}

    async def _read(self, name: str, id_: str) -> None:
        chat = self._chats[name]
        device: Device = self._crowd.device(DeviceKey(name, "phone"), [chat])
        device.put(Send(chat_id=chat, receipt=Receipt(read_up_to=int(id_))))
        await device.visit()
        self._read_ms[id_] = time.time_ns() // 1_000_000

    async def _trouble(self, die: Die) -> None:
        """Servers die, about when something is decided, sent or kept, or the endpoint does."""
        await asyncio.sleep(self._rng.uniform(0.0, 2 * DELAY_S))
        if self._rng.random() < 0.7:
            await die()
        if self._rng.random() < 0.5:
            await self._receiver.kill()
            await asyncio.sleep(self._rng.uniform(0.0, 2.0))
            await self._receiver.start()

    def judged(self, rounds: int) -> dict[str, Any]:
        first = self._receiver.first_told()
        told: defaultdict[str, list[str]] = defaultdict(list)
        for body in first.values():
            data = body["data"]
            told[data["userId"]].append(data["messageId"])
            decided_ms = datetime.fromisoformat(body["timestamp"]).timestamp() * 1_000
            read_ms = self._read_ms.get(data["messageId"], decided_ms)
            assert decided_ms <= read_ms, f"{data} was read before"
        silences = 0
        for asleep in self._asleep:
            for name, ids in asleep.items():
                about = [each for each in told[name] if each in ids]
                assert len(about) == 1, f"{name} was told of {about}, of {ids}"
                silences += 1
        repeats = len(self._receiver.told()) - len(first)
        assert silences == rounds * (SLEEPERS - SLEEPERS // 4)
        return {"silences": silences, "webhooks": len(first), "repeats": repeats}
