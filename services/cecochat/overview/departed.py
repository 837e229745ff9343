"""Remembers the servers that were live a short while ago, so that none vanishes without a word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cecochat.ports.discovery import Instance

KEPT_MS = 15 * 60_000
KEPT = 50


class Departed:
    """The servers that have left discovery lately, whether they were stopped or have died."""

    def __init__(self) -> None:
        self._live: dict[str, Instance] = {}
        self._gone: dict[str, tuple[Instance, int]] = {}  # when it was missed, ms since 1970

    def see(self, live: Iterable[Instance], now_ms: int) -> None:
        """Take in all servers that are live now."""
        now = {each.instance_id: each for each in live}
        left = {id_: (each, now_ms) for id_, each in self._live.items() if id_ not in now}
        kept = {
            id_: (each, at_ms)
            for id_, (each, at_ms) in {**self._gone, **left}.items()
            if id_ not in now and now_ms - at_ms < KEPT_MS
        }
        self._gone = dict(list(kept.items())[-KEPT:])
        self._live = now

    def shown(self) -> list[dict[str, Any]]:
        """Return them as objects for JSON, the last one first."""
        return [
            {"service": each.service, "instance_id": id_, "version": each.version, "gone_ms": at_ms}
            for id_, (each, at_ms) in reversed(self._gone.items())
        ]
