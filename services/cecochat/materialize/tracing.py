"""The spans of messages that become rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span

from cecochat.domain import spans
from cecochat.domain.records import Origin
from cecochat.ports.backplane import MESSAGES
from cecochat.runtime.tracing import Attributes, Tracer, failed

Traced = Sequence[tuple[int, Origin]]


@contextmanager
def materializing(
    tracer: Tracer, system: str, partition: int, traced: Traced, begun_ns: int, count: int
) -> Iterator[None]:
    """The write of a batch of `count` messages, of which `traced` have a trace: (offset, record).
    `begun_ns`: when the batch was read.
    """
    if not (tracer.on and traced):
        yield
        return
    each = [_begin(tracer, partition, *of, begun_ns, count) for of in traced]
    seen: Attributes = {
        spans.DB: system,
        spans.DB_OPERATION: "INSERT",
        spans.DB_COLLECTION: "messages",
        spans.BATCH: count,
    }
    write = tracer.start(spans.WRITE, each[0], seen, links=each[1:])
    for other in each[1:]:
        other.add_link(write.get_span_context())
    try:
        yield
    except BaseException as error:
        for span in (write, *each):
            failed(span, repr(error))
        raise
    for span in (write, *each):
        span.end()


def _begin(
    tracer: Tracer, partition: int, offset: int, origin: Origin, begun_ns: int, count: int
) -> Span:
    seen: Attributes = {
        spans.MESSAGE_ID: str(origin.id),
        spans.DESTINATION: MESSAGES,
        spans.PARTITION: str(partition),
        spans.OFFSET: offset,
        spans.OPERATION: "process",
        spans.BATCH: count,
    }
    return tracer.start(spans.MATERIALIZE, origin.trace, seen, start_ns=begun_ns)
