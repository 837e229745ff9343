"""Typing and presence: takes them from sessions, tells other servers over the topic of signals, and
tells sessions what others do. Nothing of it waits for the log, and no message waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.groups.rights import Act, may
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import frames
from cecochat.domain.session.bucket import Rates
from cecochat.domain.session.session import Session
from cecochat.domain.signals.interests import LEASE_S, group_of
from cecochat.domain.signals.outbox import Outbox
from cecochat.domain.signals.presence import Presence
from cecochat.domain.signals.relaying import Relay
from cecochat.domain.signals.typing import STALE_MS, Typing
from cecochat.domain.signals.watching import (
    RENEW_S,
    Belongs,
    Watching,
    other_in,
    watched_in,
)
from cecochat.ports.backplane import Log
from cecochat.ports.signals import Heard, Signals
from cecochat.runtime.clock import now_ms
from cecochat.servers.messaging.signal_metrics import SignalMetrics
from cecochat.v1.messaging_pb2 import ClientFrame, TypingIn, Watch
from cecochat.v1.signals_pb2 import Signals as Said
from cecochat.v1.signals_pb2 import UserTypes

TICK_S = 0.5
GATHER_S = 0.1  # how long what is to be told may wait for more
AT_ONCE = 50  # records that are published between two turns of the event loop
WATCHES_RATE_PER_S = 4.0
"""How many chats a user may begin to watch a second for long, and at once."""
WATCHES_BURST = 256


@dataclass(slots=True, eq=False)
class _Partition:
    """The signals of a partition, for as long as one owner of this server owns it."""

    owner: Owner
    watching: Watching
    presence: Presence
    relay: Relay = field(default_factory=Relay)
    listening: asyncio.Task[None] | None = None


class Signalling:
    """The signals of one messaging server. `run` has to run. `owners` returns its partitions."""

    def __init__(
        self,
        log: Log,
        signals: Signals,
        metrics: SignalMetrics,
        owners: Callable[[], Mapping[int, Owner]],
    ) -> None:
        self._log = log
        self._signals = signals
        self._metrics = metrics
        self._owners = owners
        self._outbox = Outbox()
        self._to_tell = asyncio.Event()
        self._owned = asyncio.Event()
        self._partitions: dict[int, _Partition] = {}
        self._typing: dict[Session, Typing] = {}
        self._rates = Rates("watches")
        self._renewed_s = time.monotonic()
        self._dropped = {"collected": 0, "topic": 0}  # what the metric has
        metrics.watched.set_function(
            lambda: sum(each.watching.watched for each in self._partitions.values())
        )

    async def run(self) -> None:
        """Listen to the topic for the partitions that are owned, and publish, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            while True:
                self._follow(tasks)
                self._pass_time()
                self._tell_soon()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._owned.wait()
                self._owned.clear()

    def owned(self) -> None:
        """Note that this server owns something new, so as to listen for it at once."""
        self._owned.set()

    # -- sessions

    def begin(self, owner: Owner, session: Session) -> None:
        """Note that a session has caught up."""
        self._of(owner).presence.begin(session)
        self._tell_soon()

    def end(self, owner: Owner, session: Session) -> None:
        """Note that a session has ended."""
        self._typing.pop(session, None)
        if of := self._held_by(owner):
            of.watching.end(session)
            of.presence.end(session, time.monotonic(), now_ms())
            self._tell_soon()

    def take(self, owner: Owner, session: Session, frame: ClientFrame) -> None:
        """Take what a frame says beside sends. What is refused does not end the session."""
        of = self._held_by(owner)
        if of is None:
            return  # the session is told where to go
        try:
            if frame.HasField("invisible"):
                session.invisible = frame.invisible
                of.presence.begin(session)
                self._metrics.taken.labels("invisible").inc()
            if frame.HasField("watch"):
                self._watch(of, session, frame.watch)
            if frame.HasField("typing"):
                self._type(owner, session, frame.typing)
        except Refusal as refusal:
            self._metrics.refused.labels(refusal.name).inc()
            session.push(frames.signal_refused(refusal))
        self._tell_soon()

    def _watch(self, of: _Partition, session: Session, watch: Watch) -> None:
        belongs = _belongs(of.owner)
        peers = watched_in(session.user_id, watch.chat_ids, belongs)
        if new := of.watching.new_in(session, peers):
            self._rates.check(
                session.user_id, time.monotonic(), WATCHES_RATE_PER_S, WATCHES_BURST, new
            )
        of.watching.watch(session, peers)
        self._metrics.taken.labels("watch").inc()

    def _type(self, owner: Owner, session: Session, typing: TypingIn) -> None:
        other = other_in(session.user_id, typing.chat_id, _belongs(owner))
        said = self._typing.setdefault(session, Typing())
        chat_id = ChatId(typing.chat_id)
        if session.invisible or not said.is_due(chat_id, typing.active, time.monotonic()):
            self._metrics.taken.labels("skipped").inc()
            return
        to = self._log.partition_of(UserId(group_of(other) or other))
        self._outbox.types(to, chat_id, session.user_id, typing.active)
        self._metrics.taken.labels("typing").inc()

    # -- partitions

    def _of(self, owner: Owner) -> _Partition:
        of = self._partitions.get(owner.partition)
        if of is None or of.owner is not owner:
            self._drop(owner.partition)
            of = self._partitions[owner.partition] = self._new(owner)
        return of

    def _held_by(self, owner: Owner) -> _Partition | None:
        """Return the partition as long as this owner owns it. What its sessions say after that
        must not overtake what they say to the next owner.
        """
        of = self._partitions.get(owner.partition)
        return of if of and of.owner is owner and not owner.ended else None

    def _new(self, owner: Owner) -> _Partition:
        assert owner.epoch is not None, "sessions come only once its takeover was read back"
        number, epoch, outbox = owner.partition, owner.epoch.clock_ms, self._outbox
        return _Partition(
            owner,
            Watching(number, epoch, self._log.partition_of, _belongs(owner), outbox),
            Presence(number, epoch, outbox, time.monotonic()),
        )

    def _drop(self, partition: int) -> None:
        dropped = self._partitions.pop(partition, None)
        if dropped and dropped.listening:
            dropped.listening.cancel()

    def _follow(self, tasks: asyncio.TaskGroup) -> None:
        """Listen for what is owned now, and for nothing else."""
        owners = self._owners()
        for partition in self._partitions.keys() - owners.keys():
            self._drop(partition)
        for owner in owners.values():
            of = self._of(owner)
            if of.listening is None:
                of.listening = tasks.create_task(self._listen(of))

    def _pass_time(self) -> None:
        now_s = time.monotonic()
        renews = now_s - self._renewed_s >= RENEW_S
        for of in self._partitions.values():
            of.presence.pass_time(now_s)
            if renews:
                of.watching.renew()
                of.presence.expire(now_s)
                of.relay.expire(now_s)
        if renews:
            self._renewed_s = now_s
        self._count_dropped()

    def _count_dropped(self) -> None:
        for where, dropped in (
            ("collected", self._outbox.dropped),
            ("topic", self._signals.dropped),
        ):
            self._metrics.dropped.labels(where).inc(dropped - self._dropped[where])
            self._dropped[where] = dropped
        for of in self._partitions.values():
            self._metrics.dropped.labels("sessions").inc(of.watching.dropped)
            of.watching.dropped = 0

    # -- the topic

    def _tell_soon(self) -> None:
        if self._outbox:
            self._to_tell.set()

    async def _publish(self) -> None:
        while True:
            await self._to_tell.wait()
            await asyncio.sleep(GATHER_S)
            self._to_tell.clear()
            for number, (to, value) in enumerate(self._outbox.take(), 1):
                self._signals.publish(to, value)
                self._metrics.published.inc()
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _listen(self, of: _Partition) -> None:
        """Hear what is said to a partition, beginning with the interests that still hold."""
        with suppress(Unavailable):  # the topic was closed
            async with aclosing(self._signals.listen(of.owner.partition, LEASE_S)) as batches:
                async for batch in batches:
                    for heard in batch:
                        self._hear(of, heard)
                    self._tell_soon()
                    await asyncio.sleep(0)  # messages go first

    def _hear(self, of: _Partition, heard: Heard) -> None:
        age_ms = max(0, now_ms() - heard.at_ms)
        try:
            said = Said.FromString(heard.value)
        except DecodeError:
            self._metrics.heard.labels("unreadable").inc()
            return
        self._metrics.heard.labels("signals").inc()
        if age_ms < STALE_MS:
            self._metrics.seconds.observe(age_ms / 1_000)
            for types in said.typing:
                of.watching.types(types)
                self._relay(of, types)
        for interest in said.interests:
            said_s = time.monotonic() - age_ms / 1_000
            of.presence.interested(interest, said_s)
            of.relay.interested(interest, said_s)
        for seen in said.seen:
            of.watching.seen(seen, heard.at_ms)

    def _relay(self, of: _Partition, types: UserTypes) -> None:
        """Tell those who watch a group that has its home here."""
        owner, chat_id = of.owner, ChatId(types.chat_id)
        if not (is_group(chat_id) and owner.here.has(chat_id)):
            return
        assert owner.fold.groups, "an owner knows groups"
        roster = owner.fold.groups.roster(chat_id)
        user_id = UserId(types.user_id)
        if not may(roster.role_of(user_id), Act.SEND, roster.options):
            return
        for to in of.relay.watching(chat_id, time.monotonic()):
            if to != owner.partition:  # that was told already
                self._outbox.types(to, chat_id, user_id, types.active)


def _belongs(owner: Owner) -> Belongs:
    """Return what says whether somebody in the owner's partition belongs to a group."""

    def belongs(chat_id: ChatId, user_id: UserId) -> bool:
        groups = owner.fold.groups
        return groups is not None and groups.belongs(chat_id, user_id)

    return belongs
