"""Planned handoffs between servers, as clients see them: no send fails, and nothing is lost,
doubled or out of order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cecochat.client import Client, Message, Reconnecting, connect
from cecochat.client.lookup import Lookup
from cecochat.domain.log.ids import UserId, dialog
from cecochat.servers.messaging.main import messaging
from cecochat.v1.messaging_pb2 import ServerItem
from tests.integration.cluster import PARTITIONS, Cluster, Faults, cluster, user_on
from tests.integration.streams import message
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.pipes import TransportName

log = logging.getLogger(__name__)

USERS = [user_on(partition, "handed") for partition in range(PARTITIONS)]
ALICE, BOB, CAROL = USERS[:3]
GAP_MAX_S = 30.0  # against a hang, no measure of speed


@dataclass
class Talk:
    """Each user sends to the next one, message after message, until it is told to stop."""

    url: str
    servers: Cluster
    transport: TransportName = "grpc"
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    talking: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(PARTITIONS + 1))
    sent: dict[str, list[str]] = field(default_factory=dict)
    heard: dict[str, list[str]] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    async def run(self, user: str) -> None:
        """One user's device, which does both."""
        sent, heard = self.sent.setdefault(user, []), self.heard.setdefault(user, [])
        async with (
            connect(self.url, self.servers.token(user), transport=self.transport) as client,
            asyncio.TaskGroup() as group,
        ):
            listening = group.create_task(self._listen(client, heard))
            await self.talking.wait()
            to = USERS[(USERS.index(user) + 1) % PARTITIONS]
            while not self.stop.is_set():
                begun_s = time.monotonic()
                await client.send(to, f"{user} {len(sent)}")
                self.waits_s.append(time.monotonic() - begun_s)
                sent.append(f"{user} {len(sent)}")
            await self.talking.wait()
            before = USERS[USERS.index(user) - 1]
            await eventually(lambda: len(heard) >= len(self.sent[before]))
            listening.cancel()

    async def _listen(self, client: Client, heard: list[str]) -> None:
        async for event in client:
            if isinstance(event, Reconnecting):
                self.ends.append(event.error.code)
            elif isinstance(event, Message) and event.user_id != client.user_id:
                heard.append(event.text)

    async def goes_on(self) -> None:
        """Wait until everybody has sent some more."""
        before = {user: len(sent) for user, sent in self.sent.items()}
        await eventually(
            lambda: all(len(sent) >= before[user] + 10 for user, sent in self.sent.items())
        )

    async def end(self) -> None:
        """Nobody sends any more; each waits until it has heard all."""
        self.stop.set()
        await self.talking.wait()

    def check(self) -> None:
        """Whatever happened meanwhile: everything once, and in order."""
        for user, sent in self.sent.items():
            assert self.heard[USERS[(USERS.index(user) + 1) % PARTITIONS]] == sent
        log.info("%s sends, slowest %.3f s", len(self.waits_s), max(self.waits_s))
        assert max(self.waits_s) < GAP_MAX_S


async def until_owned(servers: Cluster, by: str, *partitions: int) -> None:
    """Wait until that server says so."""
    async with operators.client() as http:

        async def owned() -> bool:
            answer = await http.get(f"{servers.servers[by].health_url}/partitions")
            known: dict[str, object] = answer.json()["owned"]
            return known.keys() >= {str(each) for each in partitions}

        await eventually(owned)


async def test_half_of_the_partitions_back_and_forth(
    tmp_path: Path, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = 0
    find = Lookup.find

    async def counted(self: Lookup) -> object:
        nonlocal lookups
        lookups += 1
        return await find(self)

    monkeypatch.setattr(Lookup, "find", counted)
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one", "two")
        await servers.start("one")
        await servers.start("two")
        talk = Talk(await servers.start_connect(), servers)
        async with asyncio.TaskGroup() as group:
            for user in USERS:
                group.create_task(talk.run(user))
            await talk.talking.wait()
            for owner in ("two", "one", "two", "one"):
                await servers.assign(owner, "two")
                await until_owned(servers, owner, 0, 2)
                await talk.goes_on()
            await talk.end()
        talk.check()
        assert talk.ends.count("moved") == 4 * 2
        assert lookups < len(USERS) + len(talk.ends), "clients are told where to go"


async def test_a_server_that_drains_hands_its_sessions_over(
    tmp_path: Path, kafka: str, transport: TransportName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.messaging.server.HAND_OVER_S", 60.0)  # busy machines
    async with cluster(tmp_path, kafka) as servers:
        await servers.start("one")
        await servers.assign("two", "one")
        talk = Talk(await servers.start_connect(), servers, transport)
        async with asyncio.TaskGroup() as group:
            async with messaging(servers.parts_with(Faults()), "two") as two:
                for user in USERS:
                    group.create_task(talk.run(user))
                await talk.talking.wait()
                await talk.goes_on()
                group.create_task(give_to_the_living(servers, two.instance_id))
            await talk.goes_on()
            await talk.end()
        talk.check()
        assert "moved" in talk.ends
        assert "draining" not in talk.ends


async def give_to_the_living(servers: Cluster, leaving: str) -> None:
    """What a control server does once a server is not known any more."""
    live = servers.parts.discovery.live
    await eventually(lambda: leaving not in [each.instance_id for each in live("messaging")])
    await servers.assign(*(each.instance_id for each in live("messaging")))


async def test_the_last_item_tells_where_to_go(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await servers.assign("two")
            await alice.send(message("served on", dialog(UserId(ALICE), UserId(BOB))))
            await alice.until_acks(1)
            await servers.start("two")
            assert (await alice.ended()).code == "MOVED"
        told, two = last(alice.items).disconnect, servers.servers["two"]
        assert (told.address, told.websocket) == (two.address, two.web)
        assert told.websocket.startswith("ws://")
        async with servers.stream("two", ALICE, alice.position):
            pass


def last(items: list[ServerItem]) -> ServerItem:
    return items[-1]


async def test_a_server_without_partitions_is_ready_and_says_so(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.start("one")
        async with operators.client(base_url=servers.servers["one"].health_url) as http:
            assert (await http.get("/readyz")).status_code == 200
            shown = (await http.get("/partitions")).json()
            assert shown == {
                **{"server_id": "one", "owned": {}, "taking_over": [], "lacking": {}},
                **{"append_wait_s": 0.0, "group_wait_s": 0.0},
            }
            await servers.assign("one")
            await until_owned(servers, "one", *range(PARTITIONS))
            shown = (await http.get("/partitions")).json()
            assert shown["owned"]["3"] == {"epoch": 0, "assignment_version": 1}


async def test_a_slow_target_holds_up_nobody(tmp_path: Path, kafka: str) -> None:
    """More than its lane may hold waits in the log, and arrives in order when it is well again."""
    texts = [f"{number}".ljust(15_000, ".") for number in range(400)]  # all lanes may hold 4 MiB
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        url = await servers.start_connect()
        # Clients, not raw streams: a reader that the server finds too slow comes again.
        async with (
            servers.stream("one", ALICE) as alice,
            connect(url, servers.token(BOB)) as bob,
            connect(url, servers.token(CAROL)) as carol,
        ):
            stalled = faults.stalled[1] = asyncio.Event()
            for number, text in enumerate(texts):
                for user in (BOB, CAROL):
                    chat = dialog(UserId(ALICE), UserId(user))
                    await alice.send(message(f"{user} {number}", chat, text))
                if number % 50 == 49:
                    await alice.until_acks(2 * number)
            assert await heard(carol, len(texts)) == texts
            faults.unavailable.add("bounds")  # what was forgotten cannot be read again just now
            stalled.set()
            await eventually(lambda: faults.failed > 0)
            faults.unavailable.clear()
            assert await heard(bob, len(texts)) == texts
        async with operators.client(base_url=servers.servers["one"].health_url) as http:
            metrics = (await http.get("/metrics")).text
        assert "cecochat_forward_recalls_total 0.0" not in metrics


async def heard(client: Client, count: int) -> list[str]:
    """The texts of the next messages that it shows."""
    texts: list[str] = []
    async with asyncio.timeout(60):
        async for event in client:
            texts += [event.text] if isinstance(event, Message) else []
            if len(texts) == count:
                break
    return texts
