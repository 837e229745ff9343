"""Writes the page about the spans, attributes and metrics of servers and clients."""

from __future__ import annotations

from cecochat.telemetry.spans import ATTRIBUTES, RESOURCE, SPECS
from scripts import metrics
from scripts.markdown import in_code, page, table

HEAD = """
# Spans, attributes and metrics

This page lists every span, attribute and metric. To change one, change the code and run
`make reference`.
[Trace a message](../docs/how-to/trace-a-message.md) and
[Watch a cluster](../docs/how-to/watch-a-cluster.md) say what to do with them.
"""

SPANS = """
## Spans

A trace consists of these. Names follow the OpenTelemetry semantic conventions 1.38. Those for
messaging are still in development, so the version is pinned.
"""

ATTRIBUTES_OF_SPANS = """
## Attributes of spans
"""

RESOURCES = """
## Attributes of the process

These are the resource of each span of a server. The resource of a client's span is that of its
application.
"""

METRICS = """
## Metrics

Servers have these at `/metrics`, in the text format of Prometheus. A histogram has three: its name
with `_bucket` (and the label `le`), `_sum` and `_count`. Prometheus adds `service`, `namespace` and
`instance`. No label has an unbounded number of values. Codes are those of
[Errors](../docs/reference/errors.md).
"""


def text() -> str:
    """Return the text of `observability/telemetry.md`."""
    return page(HEAD, SPANS, _spans(), ATTRIBUTES_OF_SPANS, _attributes(), RESOURCES, _resource(),
                METRICS, _metrics())  # fmt: skip


def _spans() -> str:
    rows = [
        (
            in_code(spec.name),
            spec.kind.lower(),
            spec.service,
            ", ".join(map(in_code, sorted(spec.attributes))),
            spec.meaning,
        )
        for spec in SPECS
    ]
    return table("Span | Kind | Made by | Attributes | Meaning", rows)


def _attributes() -> str:
    rows = [
        (
            in_code(name),
            meaning,
            ", ".join(in_code(spec.name) for spec in SPECS if name in spec.attributes),
        )
        for name, meaning in sorted(ATTRIBUTES.items())
    ]
    return table("Attribute | Meaning | Of", rows)


def _resource() -> str:
    rows = [(in_code(name), meaning) for name, meaning in RESOURCE.items()]
    return table("Attribute | Meaning", rows)


def _metrics() -> str:
    rows = [
        (
            in_code(metric.name),
            metric.type,
            ", ".join(map(in_code, metric.labels)),
            "all" if len(who) == len(metrics.MADE) else ", ".join(who),
            metric.help,
        )
        for metric, who in metrics.servers().items()
    ]
    return table("Metric | Type | Labels | Servers | Help", rows)
