"""How many bytes of answers a server holds for clients that have not read them yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cecochat.domain.log.ids import UserId

UNREAD_MAX_BYTES: Final = 64 << 20


class _Answer:
    """An answer on its way to a user."""

    def __init__(self, user_id: UserId, size_bytes: int, hang_up: Callable[[], None]) -> None:
        self.user_id = user_id
        self.size_bytes = size_bytes
        self.hang_up = hang_up


class Unread:
    """The answers of a server that have not left it yet.

    If they are too many bytes, the user who has most of them loses the oldest, with its connection.
    So those who read nothing are in each other's way, and in nobody else's.
    """

    def __init__(self, max_bytes: int = UNREAD_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._answers: dict[_Answer, None] = {}  # the oldest comes first
        self._bytes: Counter[UserId] = Counter()

    @contextmanager
    def held(self, user_id: UserId, size_bytes: int, hang_up: Callable[[], None]) -> Iterator[None]:
        """Count an answer for as long as the context lasts. `hang_up` ends its connection, which
        has to cancel whoever waits in the context.
        """
        answer = _Answer(user_id, size_bytes, hang_up)
        self._answers[answer] = None
        self._bytes[user_id] += size_bytes
        try:
            while self._bytes.total() > self._max_bytes and len(self._answers) > 1:
                self._give_one_up()
            yield
        finally:
            self._forget(answer)

    def _give_one_up(self) -> None:
        ((user_id, _),) = self._bytes.most_common(1)
        oldest = next(each for each in self._answers if each.user_id == user_id)
        self._forget(oldest)
        oldest.hang_up()

    def _forget(self, answer: _Answer) -> None:
        if answer not in self._answers:
            return  # it was given up
        del self._answers[answer]
        self._bytes[answer.user_id] -= answer.size_bytes
        if not self._bytes[answer.user_id]:
            del self._bytes[answer.user_id]
