"""What the log does not show an owner any more, because it has vanished or cannot be read."""

from __future__ import annotations

from collections.abc import Sized

from cecochat.domain.log.fold import Fold


class Hidden:
    """Watches the fold of an owner. A session that resumes below `up_to` is told of a gap."""

    def __init__(self, fold: Fold) -> None:
        self.up_to = -1  # the last offset where the log does not show everything; -1: none
        self._fold = fold

    def note(self, offset: int) -> None:
        """Note that the log does not show everything up to this offset."""
        self.up_to = max(self.up_to, offset)

    def read(self, offset: int, pending: Sized | None) -> bool:
        """Take in that the record at `offset` was read, and return whether the owner has to end its
        epoch: what is hidden may be one of its own sends, which are `pending`, or it turns out that
        copies have counted that it did not count. `pending` is None if the owner is not ready yet.

        If the owner is ready, a copy that is hidden is asked for again, and live sessions get it
        then. What was hidden before is missing in the tail.
        """
        gaps = self._fold.gaps
        if pending is None:
            if gaps.hides:
                self.note(offset)
            return False
        return (gaps.skips and bool(pending)) or self._fold.has_learned
