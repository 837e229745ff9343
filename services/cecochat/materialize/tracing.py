"""The spans of messages that become rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span

from cecochat.domain import spans
from cecochat.domain.records import Origin
from cecochat.ports.backplane import MESSAGES
from cecochat.runtime.tracing import Attributes, Tracer, contained, until_done

Traced = Sequence[tuple[int, Origin]]


@contextmanager
def materializing(
    tracer: Tracer, system: str, partition: int, traced: Traced, begun_ns: int, count: int
) -> Iterator[None]:
    """The write of a batch of `count` messages, of which `traced` have a trace: (offset, record).
    `begun_ns`: when the batch was read.
    """
    made: list[Span] = []
    with contained():
        if tracer.on and traced:
            made = _begin_all(tracer, system, partition, traced, begun_ns, count)
    with until_done(made):
        yield


def _begin_all(
    tracer: Tracer, system: str, partition: int, traced: Traced, begun_ns: int, count: int
) -> list[Span]:
    """The write first. It has links to up to 128 messages, which is what OpenTelemetry keeps; each
    of these has one to it.
    """
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
    return [write, *each]


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
