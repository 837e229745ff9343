"""Which servers are live: those that Consul lists, and those that it may have forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.ports.discovery import Instance


class LiveServers:
    """The live instances of one service.

    When Consul starts, it first lists what is on its disk, and then counts every check as failed
    until that check has run. If it has lost its data, it lists no service at all. So after a
    disturbance, the instances that were live stay live for a grace period, listed or not. After
    that, its answers are taken as they are.
    """

    def __init__(self, grace_s: float) -> None:
        self.live: tuple[Instance, ...] = ()
        self._grace_s = grace_s
        self._kept: dict[str, Instance] = {}
        self._until: float | None = None  # the grace begins with the first answer

    def disturbed(self) -> None:
        """Note that Consul did not answer, or that its answer shows that it has lost its data."""
        self._kept = {instance.instance_id: instance for instance in self.live}
        self._until = None

    def answered(self, instances: Iterable[Instance], now: float) -> None:
        """Take in what Consul lists as healthy at the time `now`, in s."""
        if self._until is None:
            self._until = now + self._grace_s
        if now >= self._until:
            self._kept = {}
        live = self._kept | {instance.instance_id: instance for instance in instances}
        self.live = tuple(live[instance_id] for instance_id in sorted(live))

    def grace_left_s(self, now: float) -> float | None:
        """Return how many seconds of the grace period are left; None if no instance needs it."""
        return max(0.0, self._until - now) if self._kept and self._until is not None else None
