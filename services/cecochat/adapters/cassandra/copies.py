"""Whether what is written is kept often enough, and read where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import InvalidSettings

COPIES: Final = 3
_ANSWERS: Final = {"ONE": 1, "LOCAL_ONE": 1, "TWO": 2, "THREE": 3}
"""Of how many copies; the other consistencies are majorities at least."""


def check_copies(
    settings: CassandraSettings, copies: Mapping[str, int], nodes: Mapping[str, int]
) -> None:
    """`copies` and `nodes`: of each data centre. Raises `InvalidSettings`."""
    if not settings.replication_factor:
        for centre, count in copies.items():
            _check_count(settings.namespace, centre, count, min(COPIES, nodes.get(centre, 0)))
    total, consistency = sum(copies.values()), settings.consistency
    answers = _ANSWERS.get(consistency, total)
    if 2 * answers <= total and not settings.accept_loss:
        raise InvalidSettings(
            f"consistency {consistency}: of {total} copies that is no majority, so a message can "
            "be lost with one node, and be missing in a page; use LOCAL_QUORUM, or say with "
            "CECOCHAT_ACCEPT_LOSS=true that you mean it"
        )


def _check_count(keyspace: str, centre: str, count: int, wanted: int) -> None:
    if count < wanted:
        raise InvalidSettings(
            f"the keyspace {keyspace} has {count} of {wanted} copies in {centre}: ALTER KEYSPACE "
            f"and then repair; if so few are meant, say so with CECOCHAT_REPLICATION={count}"
        )
