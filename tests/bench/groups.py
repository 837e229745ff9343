"""What groups of 10 to 10,000 members cost beside dialogs: `make bench ARGS="--groups 3"`. All are
measured in one run, on one server, so that a busy machine hits each of them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import ClientFrame, Send, ServerItem
from tests.bench.meter import Meter, percentiles_ms, rss_bytes
from tests.bench.pairs import open_pairs
from tests.bench.wire import Door, Wire
from tests.support.eventually import eventually
from tests.support.hostile import metric
from tests.support.server import Server, running

SIZES = (10, 100, 1_000, 10_000)
ONLINE_MAX = 1_000
SENDERS = 10
AT_ONCE = 100  # people whom a change adds
SHAPES = {"12": SIZES, "256": (1_000, 10_000)}
"""Number of partitions -> the groups that are measured with it."""
TEXT = "x" * 256
DELIVERIES_PER_S = 1_000
MESSAGES_PER_S_MIN = 1.0
WARM_UP_S, SECONDS = 2.0, 8.0
CONFIGURATION = {
    "sessions.max_per_server": 10_000,
    "groups.members_max": 10_000,
    "sends.rate_per_user": 1_000.0,
}
Figures = dict[str, float]


@dataclass
class Talk:
    """A group, those of its members who are connected, and what they wait for."""

    chat_id: str
    size: int
    meter: Meter
    wires: list[Wire] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sent_s: dict[str, float] = field(default_factory=dict)
    acked_s: list[float] = field(default_factory=list)

    @classmethod
    async def connected(cls, door: Door, size: int, meter: Meter) -> Talk:
        """Connect those who will be its members."""
        run = f"{time.time_ns():x}"
        talk = cls(f"g:{size}.{run}", size, meter)
        talk.names = [f"m{number}.{run}" for number in range(size)]
        talk.wires = await door.wires(talk.names[:ONLINE_MAX])
        for number, wire in enumerate(talk.wires):
            wire.take = talk._taken(number)
        return talk

    async def found(self) -> None:
        """Make the group."""
        options = GroupOptions(name="Bench")
        await self._say(Membership(options=options, added_ids=self.names[1:AT_ONCE]), 0)
        for first in range(AT_ONCE, self.size, AT_ONCE):
            await self._say(Membership(added_ids=self.names[first : first + AT_ONCE]), 0)

    async def _say(self, membership: Membership, by: int) -> None:
        key = f"change {len(self.sent_s)}"
        send = Send(client_message_id=key, chat_id=self.chat_id, membership=membership)
        self.sent_s[key] = time.perf_counter()
        before = len(self.acked_s)
        self._write(by, send)
        await eventually(lambda: len(self.acked_s) > before)

    def _write(self, by: int, send: Send) -> None:
        wire = self.wires[by]
        wire.write(ClientFrame(offset=wire.offset, sends=[send]).SerializeToString())

    def _taken(self, number: int) -> Any:
        def take(items: Sequence[ServerItem]) -> None:
            for item in items:
                if item.HasField("ack"):
                    self.wires[number].offset = item.ack.offset
                    self.acked_s.append(
                        time.perf_counter() - self.sent_s[item.ack.client_message_id]
                    )
                elif item.HasField("delivered") and item.delivered.event.HasField("message"):
                    self.meter.delivered(self.sent_s[item.delivered.event.client_message_id])

        return take

    async def flow(self, rate: float) -> None:
        """Say `rate` messages a second, in turn, until cancelled."""
        began = time.perf_counter()
        for number, by in enumerate(cycle(range(min(SENDERS, self.size)))):
            intended = began + number / rate
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            send = Send(client_message_id=f"m{len(self.sent_s)}", chat_id=self.chat_id)
            send.message.text = TEXT
            self.sent_s[send.client_message_id] = intended
            self._write(by, send)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


async def of_group(server: Server, door: Door, size: int) -> Figures:
    """A group of that size, with up to 1,000 members connected."""
    meter = Meter({"server": [server.pid]})
    talk = await Talk.connected(door, size, meter)
    before = rss_bytes(server.pid)
    await talk.found()
    grown = rss_bytes(server.pid) - before
    rate = max(MESSAGES_PER_S_MIN, DELIVERIES_PER_S / min(size, ONLINE_MAX))
    sent, appended = len(talk.sent_s), await _appended(server)
    talk.acked_s.clear()
    flowing = asyncio.create_task(talk.flow(rate))
    figures = await meter.measure(WARM_UP_S, SECONDS)
    flowing.cancel()
    await asyncio.sleep(1)
    records = (await _appended(server) - appended) / (len(talk.sent_s) - sent)
    talk.close()
    await asyncio.sleep(1)
    return _shown(figures) | {
        "ack_p99_ms": percentiles_ms(talk.acked_s)["p99_ms"],
        "records_per_message": round(records, 2),
        "messages_per_s": rate,
        "kb_per_member": round(grown / 1_000 / size, 1),
    }


async def of_dialogs(server: Server, door: Door) -> Figures:
    """As many deliveries in dialogs."""
    meter = Meter({"server": [server.pid]})
    pairs = await open_pairs(door, 100, repeat(TEXT), meter)
    running_ = [asyncio.create_task(pair.run()) for pair in pairs]

    async def pace() -> None:
        began = time.perf_counter()
        for number, pair in enumerate(cycle(pairs)):
            intended = began + number / DELIVERIES_PER_S
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            pair.offer(intended)

    flowing = asyncio.create_task(pace())
    figures = await meter.measure(WARM_UP_S, SECONDS)
    for task in (flowing, *running_):
        task.cancel()
    for pair in pairs:
        pair.sender.close()
        pair.recipient.close()
    return _shown(figures)


async def _appended(server: Server) -> float:
    health = server.ready["health"]["messaging"]
    return await metric(health, "cecochat_records_appended_total")


def _shown(figures: dict[str, Any]) -> Figures:
    names = ("delivered_per_s", "p50_ms", "p99_ms", "server_cpu_s_per_1000", "server_cores")
    return {name: figures[name] for name in names}


async def measured(folder: Path, partitions: str, rounds: int) -> dict[str, Figures]:
    """The medians over the rounds."""
    found: dict[str, list[Figures]] = {}
    environment = {"CECOCHAT_PARTITIONS": partitions}
    async with running(folder, environment, configuration=CONFIGURATION) as server:
        door = Door(server.connect_url, server.secret_file, transport="websocket")
        for turn in range(rounds):
            print(f"{partitions} partitions, {turn + 1} of {rounds}", file=sys.stderr, flush=True)
            found.setdefault("dialogs", []).append(await of_dialogs(server, door))
            for size in SHAPES[partitions]:
                found.setdefault(f"group of {size}", []).append(await of_group(server, door, size))
    return {f"{name}, {partitions} partitions": _medians(each) for name, each in found.items()}


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {
        name: round(statistics.median(figures[name] for figures in rounds), 3) for name in rounds[0]
    }


def main(rounds: int) -> dict[str, Figures]:
    """On a fresh server for each number of partitions."""
    found: dict[str, Figures] = {}
    for partitions in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            found |= asyncio.run(measured(Path(folder), partitions, rounds))
    return found
