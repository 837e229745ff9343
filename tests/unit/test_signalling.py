"""The signals of owners that end while their sessions have not noticed it yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.signals import EmbeddedSignals
from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Session
from cecochat.ports.backplane import Log
from cecochat.servers.messaging.signal_metrics import SignalMetrics
from cecochat.servers.messaging.signalling import Signalling
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame, Watch
from tests.support.eventually import eventually

UNUSED: Any = None
LOG = Log(UNUSED, "log", 2)
ALICE, BOB = UserId("alice"), UserId("bob")
CHAT = dialog(ALICE, BOB)
WATCH = ClientFrame(watch=Watch(chat_ids=[CHAT]))
MOVED = Refusal(errors_pb2.ERROR_CODE_MOVED, "go")

_clocks = count(1)


def owner_of(user_id: UserId) -> Owner:
    partition = LOG.partition_of(user_id)
    fold = Fold(Here(partition, LOG.partition_of))
    made = Owner(partition, "session", fold, cursor=0, forwarded=-1, limits=OwnerLimits())
    made.epoch = Place(next(_clocks), 0)
    return made


class Server:
    def __init__(self, topic: EmbeddedSignals, *owners: Owner) -> None:
        self.owners = {each.partition: each for each in owners}
        self.signalling = Signalling(
            LOG, topic, SignalMetrics(CollectorRegistry()), lambda: self.owners
        )

    def begin(self, user_id: UserId) -> Session:
        session = Session("s", user_id, queue_max_bytes=1 << 20, wake=lambda: None)
        self.signalling.begin(self.owners[LOG.partition_of(user_id)], session)
        return session

    def watch(self, session: Session) -> None:
        self.signalling.take(self.owners[LOG.partition_of(session.user_id)], session, WATCH)


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.signalling.run()) for each in servers]
        yield
        for task in tasks:
            task.cancel()


async def told(session: Session, *, online: bool) -> None:
    """Wait until a session is told that Bob is online, or not."""

    def said() -> bool:
        items = ServerFrame.FromString(b"".join(session.take(1 << 20))).items
        return any(item.signal.presence.online == online for item in items)

    await eventually(said, within_s=60)


async def test_a_session_of_an_ended_owner_ends_no_watch_at_the_next() -> None:
    topic = EmbeddedSignals()
    first, second = owner_of(ALICE), owner_of(ALICE)
    before, after = Server(topic, first), Server(topic, second, owner_of(BOB))
    async with running(before, after):
        bob, late = after.begin(BOB), before.begin(ALICE)
        before.watch(late)
        await told(late, online=True)
        first.end(MOVED)
        alice = after.begin(ALICE)
        after.watch(alice)
        await told(alice, online=True)
        before.signalling.end(first, late)
        after.signalling.end(after.owners[LOG.partition_of(BOB)], bob)
        await told(alice, online=False)


async def test_what_comes_late_for_an_ended_owner_changes_nothing_at_the_next() -> None:
    first, second, of_bob = owner_of(ALICE), owner_of(ALICE), owner_of(BOB)
    server = Server(EmbeddedSignals(), first, of_bob)
    async with running(server):
        late = server.begin(ALICE)
        first.end(MOVED)
        server.owners[second.partition] = second
        alice = server.begin(ALICE)
        server.watch(alice)
        server.signalling.take(first, late, WATCH)
        bob = server.begin(BOB)
        await told(alice, online=True)
        server.signalling.end(of_bob, bob)
        await told(alice, online=False)
