"""Checks that there are enough copies of each row, and that reads see what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import InvalidSettings

COPIES: Final = 3
_ANSWERS: Final = {"ONE": 1, "LOCAL_ONE": 1, "TWO": 2, "THREE": 3}
"""How many copies have to answer. The other consistencies need at least a majority."""


def check_copies(
    settings: CassandraSettings, copies: Mapping[str, int], nodes: Mapping[str, int]
) -> None:
    """Check the number of copies, given `copies` and `nodes` of each data centre. Raises
    `InvalidSettings`.
    """
    if not settings.replication_factor:
        for centre, count in copies.items():
            _check_count(settings.namespace, centre, count, min(COPIES, nodes.get(centre, 0)))
    total, consistency = sum(copies.values()), settings.consistency
    answers = _ANSWERS.get(consistency, total)
    if 2 * answers <= total and not settings.accept_loss:
        raise InvalidSettings(
            f"the consistency {consistency} is no majority of {total} copies, so a message can be "
            "lost with one node, and be missing in a page: use LOCAL_QUORUM, or set "
            "CECOCHAT_ACCEPT_LOSS=true if that is what you want"
        )


def _check_count(keyspace: str, centre: str, count: int, wanted: int) -> None:
    if count < wanted:
        raise InvalidSettings(
            f"the keyspace {keyspace} has only {count} of the {wanted} copies that are possible in "
            f"{centre}: run ALTER KEYSPACE and then a repair, or set CECOCHAT_REPLICATION={count} "
            "if that is what you want"
        )
