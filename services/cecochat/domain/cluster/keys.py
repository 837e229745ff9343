"""What a key of the central configuration is."""

from __future__ import annotations

from dataclasses import field
from typing import Any, NamedTuple


class Key(NamedTuple):
    """One key. Its values go from `low` to `high`, both included."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    followed_by: str


def key(
    name: str, default: Any, unit: str, low: float, high: float, meaning: str, by: str = "messaging"
) -> Any:
    """Return a field of a configuration: a key that these servers follow."""
    return field(default=default, metadata={"key": Key(name, unit, low, high, meaning, by)})


def scale(name: str, default: float, unit: str, meaning: str) -> Any:
    """Return the key of a set that control grows and shrinks."""
    whole = isinstance(default, int)
    low, high = (0, 1_000) if whole else (0.001, 1e9)
    return key(f"scale.{name}", default, unit, low, high, meaning, "control")
