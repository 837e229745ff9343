"""Numbers in the headers of records."""

from __future__ import annotations

from cecochat.domain.log.ids import PARTITIONS_MAX

Headers = tuple[tuple[str, str], ...]


def partitions(name: str, numbers: tuple[int, ...]) -> Headers:
    """Return a header with a list of partitions; none if there are none."""
    return ((name, ",".join(map(str, numbers))),) if numbers else ()


def partitions_in(text: str) -> tuple[int, ...]:
    """Return the partitions in the text of such a header. Raises `ValueError`."""
    return tuple(number(each, high=PARTITIONS_MAX) for each in text.split(",") if each)


def number(text: str, low: int = 0, high: int = 1 << 63) -> int:
    """Return a number from `low` to below `high`, so that it can be written again. Raises
    `ValueError`.
    """
    value = int(text)
    if not low <= value < high:
        raise ValueError(f"{text} is out of range")
    return value
