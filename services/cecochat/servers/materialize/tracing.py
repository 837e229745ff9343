"""The spans of messages that become rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span

from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import MESSAGES
from cecochat.servers.materialize.rows import Rows
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Attributes, Tracer, contained, trace_of, until_done


@contextmanager
def materializing(tracer: Tracer, system: str, rows: Rows) -> Iterator[None]:
    """The write of a batch."""
    made: list[Span] = []
    with contained():
        if tracer.on and rows.traced:
            made = _begin_all(tracer, system, rows)
    with until_done(made):
        yield
    with contained():
        if tracer.on and rows.messages:
            _trace_late(tracer, rows)


def _trace_late(tracer: Tracer, rows: Rows) -> None:
    """What is in the history too late, and has no trace that is known here. The log does not tell
    whether it was accepted late: if so, this joins the trace that it was given then. The oldest
    come first.
    """
    now_ms = time.time_ns() // 1_000_000
    if now_ms - time_ms(rows.messages[0].message_id) <= tracer.slow_ms:
        return
    known = {origin.id for _, origin in rows.traced}
    for message_id in (row.message_id for row in rows.messages if row.message_id not in known):
        late_ms = now_ms - time_ms(message_id)
        if late_ms <= tracer.slow_ms or not tracer.spares_one():
            return
        seen = {**_seen(rows, message_id), spans.LATE: late_ms}
        trace_id = trace_of(spans.MESSAGE_ID, message_id)
        tracer.start(
            spans.MATERIALIZE, attributes=seen, start_ns=rows.read_ns, trace_id=trace_id
        ).end()


def _begin_all(tracer: Tracer, system: str, rows: Rows) -> list[Span]:
    """The write first. It has links to up to 128 messages, which is what OpenTelemetry keeps; each
    of these has one to it.
    """
    each = [_begin(tracer, rows, offset, origin) for offset, origin in rows.traced]
    seen: Attributes = {
        spans.DB: system,
        spans.DB_OPERATION: "INSERT",
        spans.DB_COLLECTION: "messages",
        spans.BATCH: len(rows.messages),
    }
    write = tracer.start(spans.WRITE, each[0], seen, links=each[1:])
    for other in each[1:]:
        other.add_link(write.get_span_context())
    return [write, *each]


def _begin(tracer: Tracer, rows: Rows, offset: int, origin: Origin) -> Span:
    seen = {**_seen(rows, origin.id), spans.OFFSET: offset}
    return tracer.start(spans.MATERIALIZE, origin.trace, seen, start_ns=rows.read_ns)


def _seen(rows: Rows, message_id: int) -> Attributes:
    return {
        spans.MESSAGE_ID: str(message_id),
        spans.DESTINATION: MESSAGES,
        spans.PARTITION: str(rows.partition),
        spans.OPERATION: "process",
        spans.BATCH: len(rows.messages),
    }
