"""Programs that unit tests run."""

from __future__ import annotations

import pytest

from scripts.backends import promtool as ours
from tests.support.backends import Backends


@pytest.fixture(scope="session")
def promtool(backends: Backends) -> str:
    """Where it is."""
    there = ours.here()
    if there is None:
        backends.absent("promtool")
    return there
