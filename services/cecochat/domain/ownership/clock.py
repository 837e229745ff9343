"""Whether the clock of an owner agrees with that of its log."""

from __future__ import annotations

from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS

LOOK_AGAIN_MS = 10_000


class OwnClock:
    """A record is made before it is appended, so one that was made later than it was appended shows
    a clock that is ahead, by at least so much. In between the clock is taken for right as long as
    it goes on without a jump. `now_ms` and `made_ms` are by the owner's clock, in ms since 1970.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0  # of the log's, at least; negative or 0: it is not known to be
        self._right_up_to_ms: int | None = None  # nothing was measured yet
        self._looked_ms = 0

    def compare(self, made_ms: int, appended_at_ms: int) -> None:
        """A record of its own was read back, however long that took."""
        self.ahead_ms = made_ms - appended_at_ms
        if self.ahead_ms <= CLOCKS_APART_MAX_MS:
            self._right_up_to_ms = max(made_ms, self._right_up_to_ms or 0)

    def go_on(self, now_ms: int) -> None:
        """Some time has passed; call it about once a second."""
        if self._right_up_to_ms is not None and not self._jumped(now_ms):
            self._right_up_to_ms = now_ms  # also where it was set back

    def is_right(self, now_ms: int) -> bool:
        """Whether ids may be made of it; if not, a record has to show that it is right again."""
        return not self._jumped(now_ms) and self.ahead_ms <= CLOCKS_APART_MAX_MS

    def look_due(self, now_ms: int) -> bool:
        """Whether a record is to be made now, to compare with."""
        return not self.is_right(now_ms) and not 0 <= now_ms - self._looked_ms < LOOK_AGAIN_MS

    def looks(self, now_ms: int) -> None:
        """A record is being made."""
        self._looked_ms = now_ms

    def _jumped(self, now_ms: int) -> bool:
        known_ms = self._right_up_to_ms
        return known_ms is None or now_ms - known_ms > CLOCKS_APART_MAX_MS
