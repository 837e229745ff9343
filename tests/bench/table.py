"""The figures of a benchmark as a table for people, with what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A figure of a workload, and its limit: at most that, or at least."""

    workload: str
    figure: str
    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


CLOSED = "closed, 16 in flight, 16 a frame, 256 B"
TARGETS = (
    *(
        target
        for transport in ("grpc", "websocket")
        for target in (
            Target(f"closed, 1 in flight, 256 B, {transport}", "server_cpu_s_per_1000", 0.20),
            Target(f"{CLOSED}, {transport}", "server_cpu_s_per_1000", 0.06),
            Target(f"{CLOSED}, {transport}", "delivered_per_s", 4_000, at_least=True),
            Target(f"open, 500/s, 256 B, {transport}", "p99_ms", 50),
        )
    ),
    Target("2,000 idle connections", "rss_bytes_per_connection", 45 << 10),
    Target("2,000 idle WebSockets", "rss_bytes_per_connection", 30 << 10),
    Target("restart with 50,000 messages", "ready_s_after_kill", 3),
    Target("history page of 50", "p99_ms", 10),
    Target("history page of 50", "server_cpu_ms_per_page", 0.5),
)
SERVERS = ("messaging", "materialize", "history", "connect", "control")
REAL_TARGETS = (
    Target("open, 500/s, 256 B", "delivered_per_s", 495, at_least=True),
    Target("open, 500/s, 256 B", "p99_ms", 150),
    *(Target("open, 500/s, 256 B", f"{name}_cpu_s_per_1000", 0.5) for name in SERVERS),
    Target("materialize a backlog of 100,000", "materialized_per_s", 1_500, at_least=True),
    Target("history page of 50", "p99_ms", 25),
)
REAL = (*SERVERS, "kafka", "cassandra", "redis", "consul")
FLOWS = (
    ("delivered_per_s", "delivered/s", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("p99_9_ms", "p99.9 ms", "{:.2f}"),
    ("server_cpu_s_per_1000", "server CPU-s/1,000", "{:.3f}"),
    ("generator_cpu_s_per_1000", "generator CPU-s/1,000", "{:.3f}"),
    ("server_cores", "server cores", "{:.2f}"),
    ("generator_cores", "generator cores", "{:.2f}"),
)


def table(
    found: Mapping[str, Mapping[str, Any]], where: Mapping[str, Any], *, real: bool = False
) -> str:
    """Everything that was found; a workload that did not run has no row."""
    machine = where["machine"]
    head = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"Python {where['python']}; commit {where['commit']}; {where['date']}"
    )
    return "\n\n".join(filter(None, (head, _flows(found), _others(found), _targets(found, real))))


def _flows(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, *(form.format(figures.get(key, 0)) for key, _, form in FLOWS)]
        for name, figures in found.items()
        if "delivered" in figures
    ]
    return aligned([["workload", *(title for _, title, _ in FLOWS)], *rows]) if rows else ""


def _others(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, key, value if isinstance(value, str) else f"{value:,}"]
        for name, figures in found.items()
        for key, value in figures.items()
        if "delivered" not in figures or key.startswith(REAL)
    ]
    return aligned([["workload", "figure", "value"], *rows]) if rows else ""


def _targets(found: Mapping[str, Mapping[str, Any]], real: bool) -> str:
    rows = [
        [
            target.workload,
            f"{target.figure} {'>=' if target.at_least else '<='} {target.limit:,}",
            f"{found[target.workload][target.figure]:,}",
            "reached" if target.met_by(found[target.workload][target.figure]) else "NOT REACHED",
        ]
        for target in (REAL_TARGETS if real else TARGETS)
        if target.figure in found.get(target.workload, {})
    ]
    return aligned([["to reach", "figure", "measured", ""], *rows]) if rows else ""


def aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
