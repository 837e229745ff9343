"""Which servers live, by what Consul has answered and by what it may have forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.ports.discovery import Instance


class Snapshot:
    """The live instances of one service.

    An agent that starts takes every check for failed until it has run, and knows no service at all
    if it lost its data. So after a disturbance, an instance that was live stays until it was listed
    again, or for a grace: then what is not listed is dead. Whoever was listed again and then is
    not is dead at once.
    """

    def __init__(self, grace_s: float) -> None:
        self.live: tuple[Instance, ...] = ()
        self._grace_s = grace_s
        self._doubtful: dict[str, Instance] = {}
        self._until: float | None = None  # the grace begins with the first answer

    def disturbed(self) -> None:
        """No answer, or one that shows that Consul has lost its state."""
        self._doubtful = {instance.instance_id: instance for instance in self.live}
        self._until = None

    def answered(self, instances: Iterable[Instance], now: float) -> None:
        """What Consul lists as healthy at the time `now`, in s."""
        listed = {instance.instance_id: instance for instance in instances}
        if self._until is None:
            self._until = now + self._grace_s
        if now >= self._until:
            self._doubtful = {}
        for instance_id in listed:
            self._doubtful.pop(instance_id, None)
        live = self._doubtful | listed
        self.live = tuple(live[instance_id] for instance_id in sorted(live))

    def in_doubt_s(self, now: float) -> float | None:
        """For how long an instance stays that is not listed; None: there is none."""
        return max(0.0, self._until - now) if self._doubtful and self._until is not None else None
