"""A partition as sessions see it. It exists only once its takeover was read back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.log.ids import (
    PARTITIONS_MAX,
    UserId,
    chat_id,
    message_id,
    stamp_at,
)
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS
from cecochat.domain.log.records import Origin
from cecochat.domain.log.scope import is_of_group
from cecochat.domain.ownership.asks import Answer, Asked, Taken
from cecochat.domain.ownership.calls import Called, Calls, Decision
from cecochat.domain.ownership.home import Home
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import intake
from cecochat.domain.session.session import Session
from cecochat.ports.backplane import MESSAGES, Log
from cecochat.runtime.clock import now_ms
from cecochat.servers.messaging.appending import Appending
from cecochat.servers.messaging.asking import AskingHomes
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.tracing import MessageTraces
from cecochat.telemetry.logs import ids_of
from cecochat.v1.messaging_pb2 import Send

log = logging.getLogger(__name__)

CALL_S = 5.0  # how long a call of the back end waits for room, and then for its records


@dataclass(slots=True, eq=False)
class ReadyPartition:
    """A partition that this server owns. When it no longer does, all its sessions are closed."""

    host: Host
    owner: Owner
    loading: Loading
    appending: Appending
    asking: AskingHomes
    traces: MessageTraces
    until: Callable[[Callable[[], bool]], Awaitable[None]]  # waits for that, or for the owner's end
    home: Home = field(init=False)
    calls: Calls = field(init=False)
    since_s: float = field(default_factory=time.monotonic)  # by the monotonic clock

    def __post_init__(self) -> None:
        self.home = Home(self.owner, self.host.send_limits, self._check_in_group)
        self.calls = Calls(self.owner, self._accept_call)

    @property
    def log(self) -> Log:
        """The log that it is a partition of."""
        return self.host.log

    @property
    def partition(self) -> int:
        """Its number."""
        return self.owner.partition

    async def room(self, sends: Sequence[Send]) -> None:
        """Wait until these sends may be taken."""
        await self.asking.room(sends)
        await self.appending.room()

    def settle(self, session: Session, send: Send, seen: int) -> bool:
        """Like `Owner.settle`, but also true if the owner has ended, which closes the session."""
        if not self.owner.ready:
            return True
        if self.owner.is_repeat((session.user_id, send.client_message_id)):
            self.host.metrics.repeats.inc()
        return self.owner.settle(session, send, seen)

    def id_max(self) -> int:
        """Return an id above all that this partition has seen, and above all that a server whose
        clock is a minute ahead can have given.
        """
        fold = self.owner.fold
        ahead = stamp_at(max(now_ms(), fold.clock_ms) + CLOCKS_APART_MAX_MS)
        return message_id(max(fold.top, ahead), PARTITIONS_MAX - 1)

    def hides(self, offset: int) -> Unavailable:
        """Note that the log hides something up to this offset, and return what to raise where a
        session is replayed: when its client comes back, it is told of a gap.
        """
        self.owner.hidden.note(offset)
        return Unavailable(f"partition {self.partition}: the log hides what is before {offset}")

    def has_home(self, send: Send) -> bool:
        """Return whether a send is accepted here, and not in the home of a group elsewhere. Raises
        `Refusal` if the group's id is no id.
        """
        return not is_of_group(send) or self.owner.here.has(chat_id(send.chat_id))

    def accept(self, session: Session, send: Send, verdict: Refusal | None = None) -> None:
        """Append a send that is not settled, or have the home of its group accept it; call
        `asking.look` afterwards. `verdict` is why it is to be refused unless it was accepted
        before. Raises `Refusal`.
        """
        if not self.has_home(send):
            return self.owner.asking.take(session, send, now_ms(), verdict)
        if verdict:
            raise verdict
        origin = self._accept(session.user_id, send)
        self.owner.wait(session, send.client_message_id)
        self._append(send, origin, session.id)

    @property
    def _may_decide(self) -> bool:
        """Whether it can say now what becomes of what others ask for."""
        knows = self.host.moderation.rules is not None
        return knows and self.owner.ready and self.appending.has_room

    def _accept_call(self, called: Called) -> Origin:
        return self._accept(called.user_id, called.send, as_system=called.as_system)

    def _accept(self, user_id: UserId, send: Send, *, as_system: bool = False) -> Origin:
        if is_of_group(send):
            return self.home.accept(user_id, send, now_ms(), as_system=as_system)
        recipients = self._check(user_id, send, self.partition, as_system=False)
        return self.owner.accept(user_id, send, recipients, now_ms())

    def _check(
        self, user_id: UserId, send: Send, partition: int | None, as_system: bool
    ) -> tuple[UserId, ...]:
        max_bytes = self.host.send_limits.of(user_id).text_max_bytes
        recipients = intake.check_send(user_id, send, max_bytes, self.id_max, partition)
        self.host.moderation.check(user_id, send, as_system=as_system)
        return recipients

    def _check_in_group(self, user_id: UserId, send: Send, as_system: bool) -> None:
        self._check(user_id, send, None, as_system)

    async def answer(self, asked: Asked) -> Answer | None:
        """Answer what another owner asks the home of groups here; None if this owner has ended.

        What is refused, a later owner may have accepted already. So a refusal waits until this one
        has read all that was in the log when it decided.
        """
        if not self._may_decide:
            return None
        answer, origins = self.home.answer(asked, now_ms())
        sends = {(each.user_id, each.send.client_message_id): each.send for each in asked.sends}
        for origin in origins:
            self._append(sends[origin.user_id, origin.client_message_id], origin)
        if answer.refuses:
            await self._read_log()
        return answer if self.owner.ready else None

    async def call(self, sends: Sequence[Called]) -> list[Decision] | None:
        """Decide about sends of the product's back end, and wait until those that are accepted were
        read back. One that was not in time is still `Taken`. None: this owner has ended, or does
        not know.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_S):
                await self.appending.room()
        if not self._may_decide:
            return None
        decisions: list[Decision] = []
        taken = zip(sends, self.calls.take_all(sends, now_ms()), strict=True)
        for called, (decision, origin) in taken:
            decisions.append(decision)
            if origin:
                self._append(called.send, origin)
        if any(isinstance(each, Refusal) for each in decisions):
            await self._read_log()
        return await self._read_back(sends, decisions)

    async def _read_back(
        self, sends: Sequence[Called], decisions: list[Decision]
    ) -> list[Decision] | None:
        waiting = [at for at, each in enumerate(decisions) if isinstance(each, Taken)]

        def look() -> bool:
            while waiting and (known := self.calls.taken(sends[waiting[0]].key)):
                decisions[waiting.pop(0)] = known
            return not waiting

        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_S):
                await self.until(look)
        return decisions if self.owner.ready else None

    async def _read_log(self) -> None:
        """Wait until the owner has read all that is in the log now, or has ended."""
        _, end = await self.log.backplane.bounds(MESSAGES, self.partition)
        await self.until(lambda: self.owner.cursor >= end)

    def _append(self, send: Send, origin: Origin, session_id: str = "") -> None:
        self.host.metrics.accept(origin.user_id)
        self.traces.accept(send.traceparent, origin)
        self.appending.queue(origin)
        if log.isEnabledFor(logging.DEBUG) and send.HasField("message"):
            ids = {"message_id": str(origin.id), "session_id": session_id}
            trace_ids = ids_of(origin.trace or send.traceparent)
            extra = {**ids, "partition": self.partition, **trace_ids}
            log.debug("message %s is accepted", origin.id, extra=extra)
