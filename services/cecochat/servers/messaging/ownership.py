"""Which partitions a messaging server owns: those that the assignment gives it, until another
server has taken them over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster import assignment
from cecochat.domain.cluster.versions import Claim
from cecochat.domain.errors import ProducerEnded, Refusal, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership.asks import Answer, Asked
from cecochat.domain.ownership.calls import Called, Decision
from cecochat.domain.ownership.owner import Owner
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import OwnedPartition as InternalPartition
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.runtime.clock import now_ms
from cecochat.runtime.lifetime import check_cancelled
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.partition import OwnedPartition
from cecochat.servers.messaging.ready import ReadyPartition
from cecochat.servers.messaging.watermarks import Watermarks
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

RETRY_S = 0.2
FAILING_S = 10.0  # if takeovers fail for longer, the server is not ready
LOOK_AGAIN_S = 0.2  # how often to look whether the other servers are stopping, too
NEXT_OWNER_MS = 200


class Ownership:
    """Takes partitions over and serves them; `run` follows the assignment until it is cancelled.

    A partition that is assigned to another server is served on until that server has taken it over.
    One that is assigned to nobody is given up at once.
    """

    def __init__(
        self, host: Host, following: Following, others: InternalClient | None = None
    ) -> None:
        self._host = host
        self._server_id = host.server_id
        self._following = following
        self._others = others
        self._server_of: dict[int, str] = {}  # as assigned last
        self._memory = following.memory
        self._assigned: dict[int, int] | None = (
            None  # partition -> latest version that assigns it here
        )
        self._reassigned = asyncio.Event()
        self._progress = asyncio.Event()  # `not_ready` may have changed
        self._owned: dict[int, OwnedPartition] = {}
        self._outdone: dict[int, Claim] = {}  # partition -> claim of the last takeover by another
        self._failing: dict[int, float] = {}  # partition -> since when its takeovers fail, in s
        self._started = False

    async def run(self) -> None:
        """Own what the assignment says, and store how far it is forwarded, until cancelled."""
        log_ = self._host.log
        parse = partial(assignment.parse, partitions=log_.partitions)
        async with asyncio.TaskGroup() as group:
            group.create_task(Watermarks(log_.backplane, self._host.metrics).keep(self.owners))
            tasks: dict[int, asyncio.Task[None]] = {}
            async with aclosing(valid(self._following, ASSIGNMENT, parse)) as assignments:
                async for version, owners in assignments:
                    self._server_of = owners
                    self._assigned = {
                        p: version for p, owner in owners.items() if owner == self._server_id
                    }
                    self._reassigned.set()
                    self._reassigned = asyncio.Event()
                    self._progress.set()
                    for partition in tasks.keys() - self._assigned.keys():
                        if partition not in owners or not self._is_claimed(partition):
                            tasks.pop(partition).cancel()
                    for partition in self._assigned.keys() - tasks.keys():
                        tasks[partition] = group.create_task(self._keep(partition))

    def _is_claimed(self, partition: int) -> bool:
        owned = self._owned.get(partition)
        return owned is not None and owned.claimed

    async def _keep(self, partition: int) -> None:
        """Own a partition, and take it over again each time it is lost, until cancelled."""
        fields = {"partition": partition}
        while True:
            owned = await self._begin(partition)
            try:
                later = await owned.run()
                log.info(
                    "partition %s was taken over by %s", partition, later.server_id, extra=fields
                )
                self._outdone[partition] = Claim(later.assignment_version, later.server_id)
                self._memory.see_takeover(later.assignment_version)
                await asyncio.sleep(RETRY_S)  # two servers that own it must not take turns quickly
            except ProducerEnded as error:
                self._host.metrics.producer_failures.inc()
                self._failing.setdefault(partition, time.monotonic())
                log.warning("partition %s is taken over again: %s", partition, error, extra=fields)
                check_cancelled()
                await asyncio.sleep(RETRY_S)
            finally:
                if self._owned.get(partition) is owned:  # otherwise it was assigned here again
                    del self._owned[partition]
                self._progress.set()

    async def _begin(self, partition: int) -> OwnedPartition:
        assert self._assigned is not None
        outdone = self._outdone.get(partition, Claim(0, ""))
        while (version := self._assigned.get(partition)) is None or (
            Claim(version, self._server_id) < outdone
        ):
            self._failing.pop(partition, None)  # it is another server's now
            if version is not None:
                log.warning(
                    "partition %s is assigned here by version %s, but %s has taken it over by "
                    "version %s: this server waits for a later version",
                    partition,
                    version,
                    outdone.server_id,
                    outdone.version,
                    extra={"partition": partition},
                )
                if version == outdone.version:  # that had another content, which may be lost
                    self._memory.see_takeover(version + 1)
            await self._reassigned.wait()
        self._owned[partition] = owned = OwnedPartition(
            self._host,
            partition,
            version,
            on_ready=partial(self._ready, partition),
            ask=self._ask_home,
        )
        return owned

    def _ready(self, partition: int) -> None:
        self._failing.pop(partition, None)
        self._progress.set()

    def owners(self) -> dict[int, Owner]:
        """Return the owners that are ready, by partition."""
        return {
            partition: owned.ready.owner for partition, owned in self._owned.items() if owned.ready
        }

    # -- what others ask

    @property
    def not_ready(self) -> str | None:
        """Why no session should come here now, or None if this server is ready. After the start,
        takeovers are so quick that only those that keep failing count.
        """
        if self._assigned is None:
            return "waiting for the assignment"
        if not self._started and (waiting := self._taking_over()):
            return f"taking over partitions {waiting}"
        late_s = time.monotonic() - FAILING_S
        failing = [p for p in self._assigned if self._failing.get(p, late_s) < late_s]
        return f"partitions {failing} cannot be taken over" if failing else None

    def _taking_over(self) -> list[int]:
        owners = self.owners()
        return sorted(p for p in self._assigned or () if p not in owners)

    async def until_ready(self) -> None:
        """Wait until all partitions that are assigned at the start are taken over."""
        while self.not_ready:
            self._progress.clear()
            await self._progress.wait()
        self._started = True

    @property
    def queued_bytes(self) -> int:
        """How many bytes wait to be appended."""
        return sum(owned.appending.queued_bytes for owned in self._owned.values())

    @property
    def append_wait_s(self) -> float:
        """How many seconds the oldest append that is under way has taken so far."""
        return max((owned.appending.wait_s for owned in self._owned.values()), default=0.0)

    @property
    def group_wait_s(self) -> float:
        """How many seconds the oldest send to a group with its home elsewhere has waited so far."""
        asking = [owner.asking.waits_since_ms for owner in self.owners().values()]
        since_ms = min((each for each in asking if each is not None), default=None)
        return 0.0 if since_ms is None else max(0.0, (now_ms() - since_ms) / 1_000)

    def owned(self) -> list[InternalPartition]:
        """Return the partitions that are owned, for servers and commands."""
        owners = sorted(self.owners().items())
        return [InternalPartition(partition=p, read_to=owner.cursor) for p, owner in owners]

    def shown(self) -> dict[str, Any]:
        """Return the partitions that are owned, for people, as an object for JSON."""
        return {
            "server_id": self._server_id,
            "owned": {
                str(partition): {
                    "epoch": owner.epoch and owner.epoch.offset,
                    "assignment_version": self._owned[partition].version,
                }
                for partition, owner in sorted(self.owners().items())
            },
            "taking_over": self._taking_over(),
            "append_wait_s": round(self.append_wait_s, 3),
            "group_wait_s": round(self.group_wait_s, 3),
            "lacking": {
                str(partition): sorted(owner.incoming.broken)
                for partition, owner in sorted(self.owners().items())
                if owner.incoming.broken
            },
        }

    def partition_for(self, user_id: UserId) -> ReadyPartition:
        """Return the partition of a user. Raises `Refusal` if this server does not own it, or not
        yet.
        """
        partition = self._host.log.partition_of(user_id)
        if ready := self._served(partition):
            return ready
        if partition in (self._assigned or ()):
            raise _taking_over(partition)
        raise Refusal(
            errors_pb2.ERROR_CODE_WRONG_SERVER,
            f"{user_id} is on partition {partition}, which this server does not own: ask the "
            "connect server again",
        )

    def _served(self, partition: int) -> ReadyPartition | None:
        owned = self._owned.get(partition)
        return owned.ready if owned else None

    # -- homes of groups

    async def answer(self, home: int, asked: Asked) -> Answer | None:
        """Answer what an owner asks the home of groups in a partition; None if this server does not
        own it, not yet, or does not know.
        """
        ready = self._served(home)
        try:
            return await ready.answer(asked) if ready else None
        except Unavailable:
            return None

    async def call(self, partition: int, sends: Sequence[Called]) -> list[Decision] | None:
        """Decide about sends of the product's back end; None if this server does not own that
        partition, not yet, or does not know.
        """
        ready = self._served(partition)
        try:
            return await ready.call(sends) if ready else None
        except Unavailable:
            return None

    async def _ask_home(self, home: int, asked: Asked) -> Answer | None:
        if self._served(home):
            return await self.answer(home, asked)
        server = self._host.instance(self._server_of.get(home, ""))
        return await self._others.ask_home(server, home, asked) if server and self._others else None

    def check(self, ready: ReadyPartition) -> None:
        """Raise `Refusal` if `ready` does not own its partition any more."""
        if self._served(ready.partition) is not ready:
            raise _taking_over(ready.partition)

    # -- the end

    async def hand_over(self, deadline_s: float) -> None:
        """Serve on until other servers have taken everything over, as long as there are others."""
        try:
            async with asyncio.timeout(deadline_s):
                while self.owners() and self._host.has_others:
                    self._progress.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await self._progress.wait()
        except TimeoutError:
            log.warning("no other server has taken over the partitions %s", sorted(self.owners()))

    async def for_each(self, call: Callable[[OwnedPartition], Coroutine[Any, Any, None]]) -> None:
        """Run `call` at the same time for all partitions that are owned or being taken over."""
        async with asyncio.TaskGroup() as group:
            for owned in self._owned.values():
                group.create_task(call(owned))

    async def store_watermarks(self) -> None:
        """Store how far all partitions are forwarded."""
        await Watermarks(self._host.log.backplane, self._host.metrics).store(self.owners())


def _taking_over(partition: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        f"partition {partition} is being taken over: try again at once",
        NEXT_OWNER_MS,
    )
