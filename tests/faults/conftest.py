"""Backends that the tests of faults may stop, and clusters on them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import pytest

from scripts.backends.launch import Backend
from tests.faults.trial import Trial
from tests.support import operators
from tests.support.backends import Backends
from tests.support.outages import drop_keyspaces, environment, own_backends


@pytest.fixture(scope="session")
def real(
    tmp_path_factory: pytest.TempPathFactory, backends: Backends
) -> Iterator[Mapping[str, Backend]]:
    """Kafka, Cassandra, Redis and Consul, of this run alone."""
    with own_backends(tmp_path_factory.mktemp("backends"), backends) as started:
        yield started


@pytest.fixture
def on_real(real: Mapping[str, Backend]) -> Iterator[dict[str, str]]:
    """The variables that put a new system on them."""
    for backend in real.values():
        assert backend.answers(), f"a test before has left {backend.kind.name} stopped"
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    yield environment(real, namespace) | operators.SETTING
    drop_keyspaces(real["cassandra"], namespace)


@pytest.fixture
def trial(
    real: Mapping[str, Backend],
    on_real: dict[str, str],
    tmp_path: Path,
    rng: Random,
    base_seed: int,
) -> Trial:
    return Trial(real, on_real, tmp_path, rng, base_seed)


@pytest.fixture(
    params=["embedded", pytest.param("embedded, 12 partitions", marks=pytest.mark.slow), "real"]
)
def on(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that put a new system, in one process, on either kind of backends."""
    if request.param == "real":
        variables: dict[str, str] = request.getfixturevalue("on_real")
        return variables
    return {"CECOCHAT_PARTITIONS": "12"} if request.param != "embedded" else {}
