"""What tests that run at once (`pytest -n 4`, by pytest-xdist) must not share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).parents[1] / "faults"
LANES = 2


def told(config: pytest.Config, name: str) -> str | None:
    """What the run has told this worker; None: this is no worker."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    return given.get(name)


def own(ports: range) -> range:
    """The part of a range that is this worker's: what one has found free, none else takes."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        return ports
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    size = len(ports) // count
    return ports[int(worker.removeprefix("gw")) * size :][:size]


def scheduler(config: pytest.Config, log: Any) -> object:
    """A file at a time to a worker, and all that kill servers under load to two of them: more at
    once would starve each other.
    """
    killing = [path.name for path in sorted(FAULTS.glob("test_*.py")) if not _is_quick(path.name)]
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            name = file.rpartition("/")[2]
            if "/faults/" not in file or _is_quick(name):
                return file
            return f"faults, lane {killing.index(name) % LANES}"

    return ByFile(config, log)


def _is_quick(name: str) -> bool:
    """Whether a file of `tests/faults` harms no server."""
    return "malformed" in name
