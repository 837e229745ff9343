"""The page of all that servers and clients tell of themselves: spans, attributes, metrics."""

from __future__ import annotations

from cecochat.telemetry.spans import ATTRIBUTES, RESOURCE, SPECS
from scripts import metrics
from scripts.markdown import in_code, page, table

HEAD = """
# Spans, attributes and metrics

Every span, attribute and metric there is. Change one in the code, then `make reference`.
[Trace a message](../docs/how-to/trace-a-message.md) and
[Watch a cluster](../docs/how-to/watch-a-cluster.md) say what to do with them.
"""

SPANS = """
## Spans

What a trace consists of. Names follow the OpenTelemetry semantic conventions 1.38; those of
messaging are in development there, and pinned here.
"""

ATTRIBUTES_OF_SPANS = """
## Attributes of spans
"""

RESOURCES = """
## Attributes of who made them

The resource of each span of a server; a client's is that of the application.
"""

METRICS = """
## Metrics

What each server tells at `/metrics`, in the text format of Prometheus. A histogram is three: its
name with `_bucket` (and the label `le`), `_sum` and `_count`. Prometheus adds `service`,
`namespace` and `instance`. No label has unbounded values; codes are those of
[Errors](../docs/reference/errors.md).
"""


def text() -> str:
    """Of `observability/telemetry.md`."""
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
