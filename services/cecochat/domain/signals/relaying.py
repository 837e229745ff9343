"""Who watches the groups that have their home in one partition. Whoever types there tells the home,
and its owner tells those who watch.
"""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.domain.log.ids import ChatId
from cecochat.domain.signals.interests import INTERESTS_MAX, LEASE_S, Epochs, group_of
from cecochat.v1.signals_pb2 import Interest


class Relay:
    """The partitions in which sessions watch each group. Times are in seconds by a monotonic
    clock.
    """

    def __init__(self) -> None:
        self._until_s: dict[ChatId, dict[int, float]] = {}
        self._epochs = Epochs()

    def interested(self, interest: Interest, said_s: float) -> None:
        """Take in who watches groups of this partition, as it was said at `said_s`."""
        if not self._epochs.counts(interest.partition, interest.epoch):
            return
        for chat_id in _groups(interest.ended_ids):
            self._forget(chat_id, interest.partition)
        asked = (*interest.asked_ids, *interest.online_ids, *interest.offline_ids)
        for chat_id in _groups(asked):
            if chat_id in self._until_s or len(self._until_s) < INTERESTS_MAX:
                self._until_s.setdefault(chat_id, {})[interest.partition] = said_s + LEASE_S

    def watching(self, chat_id: ChatId, now_s: float) -> list[int]:
        """Return the partitions in which a group is watched."""
        watching = self._until_s.get(chat_id, {})
        return [partition for partition, until_s in watching.items() if until_s >= now_s]

    def expire(self, now_s: float) -> None:
        """Forget those who have not said it again."""
        for chat_id, watching in list(self._until_s.items()):
            for partition in [p for p, until_s in watching.items() if until_s < now_s]:
                self._forget(chat_id, partition)

    def _forget(self, chat_id: ChatId, partition: int) -> None:
        watching = self._until_s.get(chat_id, {})
        watching.pop(partition, None)
        if not watching:
            self._until_s.pop(chat_id, None)


def _groups(ids: Iterable[str]) -> Iterable[ChatId]:
    return filter(None, map(group_of, ids))
