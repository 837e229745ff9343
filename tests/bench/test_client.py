"""Each way of the bench of clients delivers, and is compared. (These are no measurements.)"""

from __future__ import annotations

from pathlib import Path

from tests.bench import client
from tests.bench.client import WINDOWS
from tests.support.backends import Backends
from tests.support.server import running
from tests.support.typescript import built


async def test_each_way_is_told_beside_pythons_over_grpc(
    tmp_path: Path, backends: Backends
) -> None:
    built(backends)
    async with running(tmp_path) as server:
        found = await client.costs(server, pairs=2, rounds=1, messages=20)
    assert len(found) == len(WINDOWS) * 3
    assert all(each.client > 0 and each.per_s > 0 for each in found.values())
    rows = client.table(found).splitlines()
    assert [way for way in client.ways() if sum(way in row for row in rows) != len(WINDOWS)] == []
    assert all(" 1.00 " in row for row in rows if "Python, gRPC" in row), (
        "it is what they are beside"
    )
