"""Turns a trace from Jaeger's query API into the bars of a waterfall."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cecochat.domain.log.ids import time_ms
from cecochat.telemetry.spans import MESSAGE_ID, RECORD

BEFORE_MS, AFTER_MS = 3_600_000, 86_400_000  # clocks differ, and a step may be late


class Bar(NamedTuple):
    """A span. Its start is relative to that of the first span."""

    trace_id: str
    span_id: str
    parent_id: str
    depth: int
    name: str
    server: str
    start_us: int
    duration_us: int
    error: str
    links: list[str]  # the ids of spans that it shares work with
    attributes: dict[str, Any]


def query(message_id: int, service: str = "messaging") -> dict[str, str | int]:
    """Return the parameters with which `/api/traces` finds the trace of a message.

    It is only found if `service` has a part in it.
    """
    at_ms = time_ms(message_id)
    return {
        "service": f"cecochat-{service}",
        "tags": json.dumps({MESSAGE_ID: str(message_id)}),
        "start": (at_ms - BEFORE_MS) * 1_000,
        "end": (at_ms + AFTER_MS) * 1_000,
        "limit": 1,
    }


def bars(trace: Mapping[str, Any]) -> list[Bar]:
    """Return the spans of a trace, parents before their children, ordered by time.

    A span whose parent is missing is at the top.
    """
    spans = {span["spanID"]: span for span in trace["spans"]}
    below: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for span in spans.values():
        parent = _parent(span)
        below[parent if parent in spans else ""].append(span)
    begun_us = min(span["startTime"] for span in spans.values())

    def walk(parent: str, depth: int) -> Iterator[Bar]:
        for span in sorted(below[parent], key=lambda each: int(each["startTime"])):
            yield _bar(span, trace["processes"][span["processID"]], depth, begun_us)
            yield from walk(span["spanID"], depth + 1)

    return list(walk("", 0))


def _parent(span: Mapping[str, Any]) -> str:
    references = span.get("references") or []
    return next((str(r["spanID"]) for r in references if r["refType"] == "CHILD_OF"), "")


def _bar(span: Mapping[str, Any], process: Mapping[str, Any], depth: int, begun_us: int) -> Bar:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    of = {tag["key"]: tag["value"] for tag in process.get("tags") or []}
    name = span["operationName"]
    if RECORD in tags:
        name = f"{name} ({tags[RECORD]})"
    return Bar(
        span["traceID"],
        span["spanID"],
        _parent(span),
        depth,
        name,
        str(of.get("service.instance.id", process["serviceName"])),
        span["startTime"] - begun_us,
        span["duration"],
        str(tags.get("otel.status_description", "error")) if tags.get("error") else "",
        [r["spanID"] for r in span.get("references") or [] if r["refType"] != "CHILD_OF"],
        tags,
    )
