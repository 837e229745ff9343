"""What tests that run at once (`pytest -n 3`, by pytest-xdist) must not share."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

EMBEDDED = re.compile(r"/test_(gap|judges|malformed\w*|proof|slow|typescript)\.py")
"""The tests of faults that need no cluster."""

PART = "PART_OF_THE_PORTS"
"""The variable that says which worker of how many the outermost one is."""


def told(config: pytest.Config, name: str) -> str | None:
    """What the run has told this worker; None: this is no worker."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    return given.get(name)


def own(ports: range) -> range:
    """The part of a range that is this worker's: what one has found free, none else takes. Workers
    of a pytest that it starts find theirs in it.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        return ports
    mine = f"{worker.removeprefix('gw')} {os.environ['PYTEST_XDIST_WORKER_COUNT']}"
    number, count = map(int, os.environ.setdefault(PART, mine).split())
    size = len(ports) // count
    return ports[number * size :][:size]


def scheduler(config: pytest.Config, log: Any) -> object:
    """A file at a time to a worker, and all that kill servers of a cluster to one: two of them at
    once would starve each other, and each would need backends of its own.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "faults" if "/faults/" in file and not EMBEDDED.search(file) else file

    return ByFile(config, log)
