"""Whether the clock of an owner agrees with the clock of its log."""

from __future__ import annotations

from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS

LOOK_AGAIN_MS = 10_000


class OwnClock:
    """Compares when the owner made a record with when the log appended it.

    A record is made before it is appended. So if it seems to be made later than it was appended,
    the owner's clock is ahead by at least the difference. Between two records the clock is taken to
    be right as long as it does not jump. `now_ms` and `made_ms` are by the owner's clock, in ms
    since 1970.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0  # of the log's clock, at least; not ahead, as far as known, if 0 or below
        self._right_up_to_ms: int | None = None  # None: nothing was measured yet
        self._checked_ms = 0

    def compare(self, made_ms: int, appended_at_ms: int) -> None:
        """Take in a record of this owner that was read back. How long that took does not matter."""
        self.ahead_ms = made_ms - appended_at_ms
        if self.ahead_ms <= CLOCKS_APART_MAX_MS:
            self._right_up_to_ms = max(made_ms, self._right_up_to_ms or 0)

    def go_on(self, now_ms: int) -> None:
        """Note that time has passed. Call this about once a second."""
        if self._right_up_to_ms is not None and not self._jumped(now_ms):
            self._right_up_to_ms = now_ms  # also where it was set back

    def is_right(self, now_ms: int) -> bool:
        """Return whether ids may be made from this clock. If not, a record has to show first that
        it is right again.
        """
        return not self._jumped(now_ms) and self.ahead_ms <= CLOCKS_APART_MAX_MS

    def look_due(self, now_ms: int) -> bool:
        """Return whether a record should be made now, to compare its times."""
        return not self.is_right(now_ms) and not 0 <= now_ms - self._checked_ms < LOOK_AGAIN_MS

    def looks(self, now_ms: int) -> None:
        """Note that such a record is being made."""
        self._checked_ms = now_ms

    def _jumped(self, now_ms: int) -> bool:
        right_ms = self._right_up_to_ms
        return right_ms is None or now_ms - right_ms > CLOCKS_APART_MAX_MS
