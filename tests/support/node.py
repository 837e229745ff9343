"""Nodes of a test cluster as `scripts/cluster` plans them, without a machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from scripts.backends import cli
from scripts.backends.instance import Instance
from scripts.cluster.plan import Plan

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def plans(nodes: int) -> list[Plan]:
    """That of each node of a cluster, the first one's first."""
    return [Plan(node, nodes, CLUSTER_ID) for node in range(1, nodes + 1)]


def instance(here: Plan, backend: str, folder: Path = Path("made-up")) -> Instance:
    """A backend of a node, as the launcher understands what it is told."""
    words = ["run", backend, "--data", str(folder), *here.backends()[backend]]
    return cli._instance(parser().parse_args(words))


parser = cache(cli._parser)
"""That of the launcher."""


def lines_of(unit: str) -> Mapping[str, list[str]]:
    """Setting of a unit of systemd -> its values; those of all sections, none is in two."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(name, []).append(value)
    return found


def environment_of(unit: str) -> Mapping[str, str]:
    """What a unit of systemd gives to its program."""
    words = [word for line in lines_of(unit).get("Environment", []) for word in line.split()]
    return dict(word.split("=", 1) for word in words)
