"""Which servers live, by what Consul has answered and by what it may have forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.ports.discovery import Instance


class Snapshot:
    """The live instances of one service.

    A Consul that starts lists what its disk says at first, then takes every check for failed until
    it has run, and knows no service at all if it lost its data. So after a disturbance, the
    instances that were live stay for a grace, listed or not; then the answers are the truth again.
    """

    def __init__(self, grace_s: float) -> None:
        self.live: tuple[Instance, ...] = ()
        self._grace_s = grace_s
        self._kept: dict[str, Instance] = {}
        self._until: float | None = None  # the grace begins with the first answer

    def disturbed(self) -> None:
        """No answer, or one that shows that Consul has lost its state."""
        self._kept = {instance.instance_id: instance for instance in self.live}
        self._until = None

    def answered(self, instances: Iterable[Instance], now: float) -> None:
        """What Consul lists as healthy at the time `now`, in s."""
        if self._until is None:
            self._until = now + self._grace_s
        if now >= self._until:
            self._kept = {}
        live = self._kept | {instance.instance_id: instance for instance in instances}
        self.live = tuple(live[instance_id] for instance_id in sorted(live))

    def grace_left_s(self, now: float) -> float | None:
        """How much of the grace is left; None: nobody needs it."""
        return max(0.0, self._until - now) if self._kept and self._until is not None else None
