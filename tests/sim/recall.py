"""A log is read again, for targets that could not take what they were to get."""

from __future__ import annotations

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership.forwarder import Forwarder
from tests.sim.log import Log


class Recall:
    """A reading of the log again, for lanes that are behind: where it stands, where it ends, and
    from where on they take something.
    """

    def __init__(self, fold: Fold, cursor: int, end: int, wanted: int) -> None:
        self.fold = fold
        self.cursor = cursor
        self.end = end
        self.wanted = wanted

    def read(self, log: Log, forwarder: Forwarder, records_max: int) -> bool:
        """Read up to so many records; whether that was all, or has to begin anew."""
        if self.cursor < log.start:
            return True  # and from the beginning, next time
        for offset in log.offsets(self.cursor, min(self.cursor + records_max, self.end)):
            self._bring(offset, log, forwarder)
            if self.cursor >= self.wanted and not forwarder.recalls(self.cursor):
                return True
        self.cursor = log.at_or_after(self.cursor)
        if self.cursor >= self.end:  # it may begin beyond what the owner has read
            forwarder.recalled(self.end - 1)
        return self.cursor >= self.end

    def _bring(self, offset: int, log: Log, forwarder: Forwarder) -> None:
        record = log.records[offset]
        counts = self.fold.step(offset, record, log.appended_at_ms[offset])
        if counts and isinstance(record, Origin):
            at = Place(self.fold.clock_ms, offset)
            forwarder.recall(at, record, self.fold.chain.links)
        self.cursor = offset + 1
