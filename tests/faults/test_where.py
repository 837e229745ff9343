"""`cecochat where` on the real backends, with one step after the other held back: what it says is
compared with what the devices and the history have seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Undecodable
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import MESSAGES
from cecochat.ports.reading import decode_once, records_between
from cecochat.settings.settings import load
from tests.support import shared
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, processes
from tests.support.records import Acked, Delivered, DeviceKey, dialog
from tests.support.server import command

COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}
WITHIN_S = 60.0


class Watched:
    """Alice and bob on two servers, their messages, and what `where` says of them."""

    def __init__(self, cluster: Processes, crowd: Crowd, alice: str, bob: str) -> None:
        self.cluster = cluster
        self.crowd = crowd
        self.alice, self.bob = DeviceKey(alice, "phone"), DeviceKey(bob, "phone")
        self.chats = [dialog(alice, bob)]

    async def said(self, text: str) -> int:
        """The id of what alice has sent, once it is in the log; acknowledged or not."""
        key = self.crowd.devices[self.alice].say(self.chats[0], text)
        found: list[int] = []

        async def in_the_log() -> bool:
            found[:] = await ids_in_the_log(self.cluster.environment, self.alice.user_id, key)
            return bool(found)

        await eventually(in_the_log, WITHIN_S, every_s=0.2)
        (id_,) = found
        return id_

    async def where(self, id_: int) -> dict[str, Any]:
        """What the command says now; where the record of the devices already has more than that,
        it is wrong.
        """
        acked, delivered = self.has(Acked, id_), self.has(Delivered, id_)
        found: dict[str, Any] = json.loads(
            await command(self.cluster.environment, "where", str(id_), "--json")
        )
        states = {step["name"]: step["state"] for step in found["steps"]}
        assert not acked or states["acknowledged"] != "waits", found
        assert not delivered or states["forwarded"] == "done", found
        assert states["delivered"] != "done" or states["forwarded"] == "done", found
        return found

    def has(self, kind: type[Acked] | type[Delivered], id_: int) -> bool:
        """Whether the sender's ack of it, or its delivery, is in the record."""
        for entry in self.crowd.record:
            match entry.what:
                case Acked(_, message_id, _) if kind is Acked and message_id == id_:
                    return True
                case Delivered(_, message) if kind is Delivered and message.message_id == id_:
                    return True
                case _:
                    pass
        return False

    async def until(self, id_: int, **states: str) -> dict[str, Any]:
        """Until `where` says so, of each step that is named."""
        found: dict[str, Any] = {}

        async def so() -> bool:
            nonlocal found
            found = await self.where(id_)
            said = {step["name"]: step["state"] for step in found["steps"]}
            return said | states == said

        try:
            await eventually(so, WITHIN_S, every_s=0.2)
        except AssertionError:
            raise AssertionError(f"{states} was never said, but {found}") from None
        return found

    async def arrives(self, id_: int) -> None:
        """`where` says so, and the device and the history have it."""
        found = await self.until(id_, delivered="done", materialized="done")
        accepted, materialized = found["steps"][0], found["steps"][-1]
        now_ms = time.time() * 1_000
        assert accepted["at_ms"] - 1_000 <= materialized["at_ms"] <= now_ms  # Cassandra keeps it
        assert (found["state"], found["waits_for"]) == ("arrived", [])
        await eventually(lambda: self.has(Acked, id_) and self.has(Delivered, id_))
        assert id_ in await self.stored()

    async def stored(self) -> list[int]:
        rows = await self.crowd.histories()
        return [message.message_id for message in rows[self.chats[0]]]


async def ids_in_the_log(environment: Mapping[str, str], user: str, key: str) -> list[int]:
    """Read from the log itself, by the client message id."""
    partition = partition_of(user, PARTITIONS)
    found = []
    async with build.backplane(load(environment)) as log:
        _, end = await log.bounds(MESSAGES, partition)
        async with aclosing(records_between(log, partition, 0, end)) as records:
            async for record in records:
                known = decode_once(record)
                assert not isinstance(known, Undecodable)
                if isinstance(known, Origin) and known.client_message_id == key:
                    found.append(known.id)
    return found


async def user_of(cluster: Processes, server: str, name: str) -> str:
    """A user whose partition that server owns."""
    owners = await cluster.owners()
    wanted = cluster.servers[server].instance_id
    users = (f"{name}{number}" for number in range(1_000))
    return next(each for each in users if owners[str(partition_of(each, PARTITIONS))] == wanted)


@pytest.mark.timeout(600)
async def test_where_at_every_stage(on_real: dict[str, str], tmp_path: Path) -> None:
    async with processes(tmp_path, on_real, COUNTS) as cluster:
        await hold_at_the_first_copy(cluster, "messaging-1")
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        alice = await user_of(cluster, "messaging-1", "alice")
        bob = await user_of(cluster, "messaging-2", "bob")
        watched = Watched(cluster, crowd, alice, bob)
        async with crowd.connected([watched.alice], watched.chats):
            async with crowd.connected([watched.bob], watched.chats):
                await held_before_its_copy(watched)
                await held_before_its_delivery(watched)
                await held_before_the_history(watched)
            id_ = await a_recipient_is_away(watched)
            async with crowd.connected([watched.bob], watched.chats):
                await watched.arrives(id_)
                assert await crowd.settle(within_s=60) == []
        said = await command(cluster.environment, "where", str(id_ + 1), code=1)
        assert "there is no such message" in said


async def hold_at_the_first_copy(cluster: Processes, name: str) -> None:
    """Restart it so; then stop control, so that nobody takes over from who stands still."""
    await cluster.servers[name].terminate()
    await cluster.servers[name].start(failpoint="forward:1:SIGSTOP")
    await eventually(lambda: shared.settled(cluster.environment, 2), WITHIN_S, every_s=0.2)
    await cluster.until_owned()
    await cluster.servers["control-1"].terminate()


async def held_before_its_copy(watched: Watched) -> None:
    """The owner has read it back, and stands still before it forwards."""
    id_ = await watched.said("held before its copy")
    found = await watched.until(id_, forwarded="waits", delivered="waits", materialized="done")
    assert found["waits_for"][0].startswith("forwarded to partition")
    assert not watched.has(Delivered, id_)
    watched.cluster.servers["messaging-1"].go_on()
    await watched.arrives(id_)


async def held_before_its_delivery(watched: Watched) -> None:
    """The recipient's server stands still: what it has read nobody can tell."""
    watched.cluster.servers["messaging-2"].pause()
    id_ = await watched.said("held before its delivery")
    found = await watched.until(id_, acknowledged="done", forwarded="done", materialized="done")
    (delivered,) = [step for step in found["steps"] if step["name"] == "delivered"]
    assert delivered["state"] in ("unknown", "waits")
    assert delivered["facts"]["sessions"] is None
    assert not watched.has(Delivered, id_)
    watched.cluster.servers["messaging-2"].go_on()
    await watched.arrives(id_)


async def held_before_the_history(watched: Watched) -> None:
    materialize = watched.cluster.servers["materialize-1"]
    await materialize.terminate()
    id_ = await watched.said("held before the history")
    found = await watched.until(id_, delivered="done", materialized="waits")
    assert found["waits_for"] == ["materialized"]
    assert watched.has(Delivered, id_)
    await materialize.start()
    await watched.arrives(id_)


async def a_recipient_is_away(watched: Watched) -> int:
    id_ = await watched.said("nobody is there")
    found = await watched.until(id_, forwarded="done", delivered="waits", materialized="done")
    assert found["waits_for"] == [f"delivered to {watched.bob.user_id}"]
    assert not watched.has(Delivered, id_)
    assert id_ in await watched.stored()
    return id_
