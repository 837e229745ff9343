"""The spans of the messages of one partition: accepted, appended, forwarded, delivered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from opentelemetry.trace import Span

from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import MESSAGES
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import (
    Attributes,
    Tracer,
    contained,
    derived_trace_id,
    failed,
    traceparent,
    until_done,
    valid,
)


class MessageTraces:
    """Starts and ends the spans. A message that is not traced costs a look at `Tracer.on`, or at
    its record's `trace`.
    """

    def __init__(self, tracer: Tracer, partition: int) -> None:
        self._tracer = tracer
        self._partition = partition
        self._accepting: dict[int, Span] = {}  # by message id, until it is read back
        self._queued: list[Span] = []  # appends that wait for their batch

    def accept(self, parent: str, origin: Origin) -> None:
        """Note that a send will be appended as `origin`. `parent` is the sender's `traceparent`."""
        if self._tracer.sampled(parent):
            with contained():
                self._accept(parent if valid(parent) else "", origin)

    def _accept(self, parent: str, origin: Origin) -> None:
        attributes: Attributes = {
            spans.MESSAGE_ID: str(origin.id),
            spans.PARTITION: str(self._partition),
        }
        accept = self._tracer.start(spans.ACCEPT, parent, attributes)
        append = self._append(accept, origin.id, self._partition, "origin")
        origin.trace = traceparent(append)
        self._accepting[origin.id] = accept
        self._queued.append(append)

    def _append(self, parent: str | Span, message_id: int, partition: int, kind: str) -> Span:
        attributes: Attributes = {
            spans.MESSAGE_ID: str(message_id),
            spans.DESTINATION: MESSAGES,
            spans.PARTITION: str(partition),
            spans.OPERATION: "send",
            spans.RECORD: kind,
        }
        return self._tracer.start(spans.APPEND, parent, attributes)

    @contextmanager
    def appending(self) -> Iterator[None]:
        """Trace the append of everything that is queued now."""
        batch, self._queued = self._queued, []
        with until_done(batch):
            yield

    @contextmanager
    def forwarding(self, target: int, copies: Sequence[Copy]) -> Iterator[None]:
        """Trace the append of copies. Each copy carries the context of its own append."""
        batch: list[Span] = []
        with contained():
            for copy in copies if self._tracer.on else ():
                if copy.trace:
                    span = self._append(copy.trace, copy.id, target, "copy")
                    copy.trace = traceparent(span)
                    batch.append(span)
        with until_done(batch):
            yield

    def read(self, owner: Owner, offset: int, record: LogRecord, now_ms: int) -> None:
        """Note that the owner has read a record that counts."""
        if not self._tracer.on or not isinstance(record, Origin | Copy):
            return
        if isinstance(record, Origin):
            with contained():
                self._read_back(owner, offset, record, now_ms)
        if record.trace:
            with contained():
                self._deliver(owner, offset, record)

    def _read_back(self, owner: Owner, offset: int, record: Origin, now_ms: int) -> None:
        if accept := self._accepting.pop(record.id, None):
            accept.set_attribute(spans.OFFSET, offset)
            accept.end()
        elif not record.trace and record.epoch == owner.epoch:
            self._trace_late(offset, record, now_ms)

    def _trace_late(self, offset: int, record: Origin, now_ms: int) -> None:
        """Trace a message that took too long from here on. The span of its acceptance is made
        afterwards, from its times.
        """
        begun_ms = time_ms(record.id)
        if now_ms - begun_ms <= self._tracer.slow_ms or not self._tracer.spares_one():
            return
        attributes: Attributes = {
            spans.MESSAGE_ID: str(record.id),
            spans.PARTITION: str(self._partition),
            spans.OFFSET: offset,
            spans.LATE: now_ms - begun_ms,
        }
        accept = self._tracer.start(
            spans.ACCEPT,
            attributes=attributes,
            start_ns=begun_ms * 1_000_000,
            trace_id=derived_trace_id(spans.MESSAGE_ID, record.id),
        )
        record.trace = traceparent(accept)
        accept.end()

    def _deliver(self, owner: Owner, offset: int, record: Origin | Copy) -> None:
        user_ids = record.recipient_ids
        if isinstance(record, Origin):
            user_ids = (record.user_id, *owner.fold.chain.home)
        if record.group_event and owner.fold.groups:
            user_ids = tuple(owner.fold.groups.concerned(record.group_event, owner.sessions))
        attributes: Attributes = {
            spans.MESSAGE_ID: str(record.id),
            spans.PARTITION: str(self._partition),
            spans.OFFSET: offset,
        }
        for session in (each for id_ in user_ids for each in owner.sessions.get(id_, ())):
            if session.position == offset:
                span = self._tracer.start(
                    spans.DELIVER, record.trace, {**attributes, spans.SESSION: session.id}
                )
                session.when_written(partial(_written, span))

    def end(self) -> None:
        """End all spans, since the owner has ended: another owner may or may not find what was
        under way.
        """
        with contained():
            for span in (*self._accepting.values(), *self._queued):
                failed(span, "the owner ended before this was read back")
        self._accepting.clear()
        self._queued.clear()


def _written(span: Span, done: bool) -> None:
    with contained():
        if done:
            span.end()
        else:
            failed(span, "the session ended before this was written")
