"""A partition as sessions see it. It exists only once its takeover was read back."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import PARTITIONS_MAX, UserId, message_id, stamp_at
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Session
from cecochat.ports.backplane import Log
from cecochat.runtime.clock import now_ms
from cecochat.servers.messaging.appending import Appending
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.tracing import MessageTraces
from cecochat.telemetry.logs import ids_of
from cecochat.v1.messaging_pb2 import Send

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ReadyPartition:
    """A partition that this server owns. When it no longer does, all its sessions are closed."""

    host: Host
    owner: Owner
    loading: Loading
    appending: Appending
    traces: MessageTraces

    @property
    def log(self) -> Log:
        """The log that it is a partition of."""
        return self.host.log

    @property
    def partition(self) -> int:
        """Its number."""
        return self.owner.partition

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

    def accept(self, session: Session, send: Send, recipients: tuple[UserId, ...]) -> None:
        """Append a send that was checked and not settled. Raises `Refusal`."""
        origin = self.owner.accept(session.user_id, send, recipients, now_ms())
        self.owner.wait(session, send.client_message_id)
        self.host.metrics.accept()
        self.traces.accept(send.traceparent, origin)
        self.appending.queue(origin)
        if log.isEnabledFor(logging.DEBUG) and send.HasField("message"):
            ids = {"message_id": str(origin.id), "session_id": session.id}
            trace_ids = ids_of(origin.trace or send.traceparent)
            extra = {**ids, "partition": self.partition, **trace_ids}
            log.debug("message %s is accepted", origin.id, extra=extra)
