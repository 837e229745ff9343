"""Which messaging server owns which partition, as the central document says it."""

from __future__ import annotations

from typing import Any

from cecochat.domain.errors import InvalidSettings


def parse(document: Any, partitions: int) -> dict[int, str]:
    """Partition -> server instance id, of a log of so many partitions; an absent one is nobody's.

    Raises `InvalidSettings`.
    """
    if not isinstance(document, dict):
        raise InvalidSettings(f"the assignment is {type(document).__name__}: use an object")
    known = {str(partition): partition for partition in range(partitions)}
    for name, server_id in document.items():
        if name not in known:
            raise InvalidSettings(f"{name!r:.80} is no partition: use 0 to {partitions - 1}")
        if not isinstance(server_id, str):
            raise InvalidSettings(
                f"partition {name} is assigned to {server_id!r:.80}: use a server id"
            )
    return {known[name]: server_id for name, server_id in document.items()}
