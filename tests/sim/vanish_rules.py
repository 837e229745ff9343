"""The rules about records that have vanished from the middle of a log, less one each."""

from __future__ import annotations

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.gaps import Gaps
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.ownership.hidden import Hidden as OwnersHidden
from cecochat.domain.session import frames
from cecochat.domain.session.session import Replay, concerns
from cecochat.servers.materialize.trims import Hidden
from tests.sim import oracle, without
from tests.sim.ablation import HAND_OVERS, ablation

_VANISH = {"vanish": 0.05}
_AT_HANDOVERS = HAND_OVERS | _VANISH | {"cut": 4, "connect": 2, "claim": 3, "pause": 0.3}
_CRASHES = _VANISH | {"crash": 2, "restart": 4, "cut": 6, "to_device": 0.5}
_UNREAD = _VANISH | {"materialize": 0.3, "commit": 3, "land_commit": 3, "cut": 4, "connect": 3}


def next_number_only(self: Fold, record: Origin) -> bool:
    return record.number == self.count


def feed_whatever_is_hidden(
    self: Replay, offset: int, record: LogRecord | Undecodable, appended_at_ms: int
) -> bool:
    counts, session = self._fold.step(offset, record, appended_at_ms), self._session
    if counts and isinstance(record, Origin | Copy) and concerns(record, session.user_id):
        at = Place(self._fold.clock_ms, offset)
        session.deliver(offset, frames.delivered(at, record.event))
    session.position = max(session.position, offset)
    return True


VANISH_RULES = [
    ablation(
        "what is behind a record that has vanished counts",
        (Fold, "is_next", next_number_only),
        expect=frozenset({oracle.HISTORY_WRONG, oracle.LOST}),
        seed=2,
        weights=_UNREAD,
    ),
    ablation(
        "what has vanished is told",
        (Hidden, "add", without.never),
        expect=frozenset({oracle.SILENT}),
        seed=2,
        weights=_UNREAD,
    ),
    ablation(
        "a session that resumes across what is hidden is told of a gap",
        (OwnersHidden, "note", without.never),
        (Replay, "feed", feed_whatever_is_hidden),
        expect=frozenset({oracle.MISSING}),
        seed=125,
        weights=_UNREAD,
    ),
    ablation(
        "ids lie above those that have vanished",
        (Fold, "_raise_ids", without.never),
        expect=frozenset({oracle.DOUBLED, oracle.SWAPPED, oracle.MISSING}),
        seed=147,
        weights=_CRASHES,
    ),
    ablation(
        "a takeover that has vanished is in force all the same",
        (Gaps, "has_begun", without.never),
        expect=frozenset({oracle.HISTORY_WRONG, oracle.LOST}),
        seed=12,
        weights=_AT_HANDOVERS,
    ),
]
