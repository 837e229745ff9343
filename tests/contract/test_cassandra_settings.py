"""What is refused before Cassandra is used: what cannot be, and what would lose rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cassandra.query import SimpleStatement  # type: ignore[import-untyped]

from cecochat.adapters.cassandra.copies import check_copies
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import InvalidSettings
from tests.contract.openers import Place
from tests.contract.openers.cassandra import drop_keyspace


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": ()},
        {"addresses": ("localhost:cql",)},
        {"namespace": "Upper"},
        {"consistency": "MOST"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        CassandraSettings(**{"addresses": ("localhost",), **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("consistency", "copies", "safe"),
    [
        ("ONE", 1, True),
        ("LOCAL_ONE", 1, True),
        ("ONE", 2, False),
        ("ONE", 3, False),
        ("LOCAL_ONE", 3, False),
        ("TWO", 3, True),
        ("TWO", 4, False),
        ("LOCAL_QUORUM", 3, True),
        ("ALL", 3, True),
    ],
)
def test_a_consistency_that_reads_past_what_was_written_is_refused_unless_it_is_stated(
    consistency: str, copies: int, safe: bool
) -> None:
    found = {"dc": copies}
    settings = CassandraSettings(("localhost",), consistency=consistency)
    check_copies(replace(settings, accept_loss=True), found, found)
    if safe:
        check_copies(settings, found, found)
    else:
        reason = f"{consistency} is no majority of {copies} .*ACCEPT_LOSS=true"
        with pytest.raises(InvalidSettings, match=reason):
            check_copies(settings, found, found)


def test_fewer_copies_than_there_could_be_are_refused_unless_they_are_stated() -> None:
    settings = CassandraSettings(("localhost",))
    for copies, nodes in ((1, 1), (2, 2), (3, 3), (3, 5)):
        check_copies(settings, {"dc": copies}, {"dc": nodes})
    with pytest.raises(InvalidSettings, match=r"1 of the 3 copies .*CECOCHAT_REPLICATION=1"):
        check_copies(settings, {"dc": 1}, {"dc": 4})
    check_copies(replace(settings, replication_factor=1), {"dc": 1}, {"dc": 4})


async def test_a_keyspace_is_asked_for_its_copies(place: Place) -> None:
    """Two copies on the only node there is, of which one would have to do; then one."""
    at = place.backends.address("cassandra")
    settings = CassandraSettings((at,), namespace=place.namespace, consistency="ONE")
    try:
        for _ in range(2):  # where it makes the keyspace, and where it is there
            with pytest.raises(InvalidSettings, match="ONE is no majority of 2 copies"):
                await CassandraHistory.open(replace(settings, replication_factor=2))
        database = await Database.connect(settings)
        one_copy = {"class": "NetworkTopologyStrategy"} | dict.fromkeys(database.nodes(), "1")
        alter = f"ALTER KEYSPACE {place.namespace} WITH replication = {one_copy}"
        await database.run(SimpleStatement(alter), timeout_s=30)
        await database.close()
        await (await CassandraHistory.open(settings)).close()
    finally:
        await drop_keyspace(settings)
