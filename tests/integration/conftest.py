"""What tests of several servers run on."""

from __future__ import annotations

import pytest

from tests.support.backends import Backends


@pytest.fixture(params=["embedded", "kafka"])
def kafka(request: pytest.FixtureRequest, backends: Backends) -> str:
    """Where Kafka is; empty: the embedded log. A test that takes it runs on both."""
    return backends.address("kafka") if request.param == "kafka" else ""
