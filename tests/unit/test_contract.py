"""Servers and commands ask each other by the typed contract: what is shown to people and to
Prometheus is output, and nobody here reads it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.unit.test_imports import imported, modules

SHOWN = {
    "/metrics": {"runtime.internal"},
    "/partitions": {"servers.messaging.main"},
    "/sessions": {"servers.messaging.sessions"},
}
"""What is for people and Prometheus -> who shows it, and who alone may name it."""


def texts(source: str) -> Iterator[str]:
    """Every text in the code, parts of f-strings included; docstrings are not."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def names(source: str, path: str) -> bool:
    """Whether that path, with or without a slash at its end or a query, is in the code."""
    return any(text.partition("?")[0].rstrip("/") == path for text in texts(source))


def sources() -> dict[str, Path]:
    """Every module that is written by hand."""
    return {name: path for name, path in modules() if not path.stem.endswith(("_pb2", "_pb2_grpc"))}


def test_what_is_shown_to_people_and_prometheus_is_read_by_no_server_and_no_command() -> None:
    found = {
        shown: {name for name, path in sources().items() if names(path.read_text(), shown)}
        for shown in SHOWN
    }
    assert found == SHOWN


def test_no_server_and_no_command_reads_metrics() -> None:
    wrong = {
        name
        for name, path in sources().items()
        if any(each.startswith("prometheus_client.parser") for each in imported(path.read_text()))
        or "get_sample_value" in path.read_text()
    }
    assert wrong == set()


def test_who_reads_what_is_shown_is_found() -> None:
    assert names('client.get(f"{server.url}/metrics")', "/metrics")
    assert names('PATH = "/sessions?user=alice"', "/sessions")
    assert not names('"""`GET /metrics` is for Prometheus."""', "/metrics")
    assert not names('PARTITIONS = "/internal/v1/partitions"', "/partitions")
