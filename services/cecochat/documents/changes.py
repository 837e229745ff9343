"""Traces a change of a central document: written, received by each server, and in force there.

The id of the trace follows from the version, so no context has to be stored with the document. A
person may also change the store by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span

from cecochat.ports.configuration import Configuration, Document
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Attributes, Tracer, contained, derived_trace_id, until_done

MS_NS = 1_000_000


def changed(tracer: Tracer, store: Configuration, document: Document, begun_ns: int) -> None:
    """Trace that a document was stored. The change began at `begun_ns`."""
    with contained():
        if tracer.on:
            seen = {**_seen(document), spans.DB: store.system}
            name = f"{spans.CHANGE.name} {document.name}"
            trace_id = _trace_of(document)
            tracer.start(
                spans.CHANGE, "", seen, name=name, start_ns=begun_ns, trace_id=trace_id
            ).end()


@contextmanager
def applying(
    tracer: Tracer, store: Configuration, document: Document, *, new: bool
) -> Iterator[None]:
    """Trace the block in which a document comes into force.

    `new` says whether it was changed while this server ran.
    """
    made: list[Span] = []
    with contained():
        if tracer.on:
            above = _received(tracer, store, document) if new else ""
            name = f"{spans.FOLLOW.name} {document.name}"
            made = [tracer.start(spans.FOLLOW, above, _seen(document), name=name)]
    with until_done(made):
        yield


def _received(tracer: Tracer, store: Configuration, document: Document) -> Span:
    span = tracer.start(
        spans.RECEIVE,
        attributes={**_seen(document), spans.DB: store.system},
        name=f"{spans.RECEIVE.name} {document.name}",
        start_ns=min(document.changed_at_ms * MS_NS, time.time_ns()),  # clocks differ
        trace_id=_trace_of(document),
    )
    span.end()
    return span


def _trace_of(document: Document) -> int:
    return derived_trace_id(spans.DOCUMENT, document.name, document.version, document.changed_at_ms)


def _seen(document: Document) -> Attributes:
    return {spans.DOCUMENT: document.name, spans.VERSION: document.version}
