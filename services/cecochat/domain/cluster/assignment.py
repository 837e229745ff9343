"""Which messaging server should own which partition, as the central document says."""

from __future__ import annotations

from typing import Any

from cecochat.domain.errors import InvalidSettings


def parse(document: Any, partitions: int) -> dict[int, str]:
    """Read the assignment of a log with so many partitions: partition -> server instance id.

    A partition that is absent is assigned to nobody. Raises `InvalidSettings`.
    """
    if not isinstance(document, dict):
        raise InvalidSettings(f"the assignment is a {type(document).__name__}: use an object")
    by_name = {str(partition): partition for partition in range(partitions)}
    for name, server_id in document.items():
        if name not in by_name:
            raise InvalidSettings(f"{name!r:.80} is no partition: use 0 to {partitions - 1}")
        if not isinstance(server_id, str):
            raise InvalidSettings(
                f"partition {name} is assigned to {server_id!r:.80}: use a server id"
            )
    return {by_name[name]: server_id for name, server_id in document.items()}
