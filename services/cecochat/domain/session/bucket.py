"""Rate limits by token buckets, which allow a burst at once and a steady rate for long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.v1 import errors_pb2

USERS_MAX = 100_000

Limit = TypeVar("Limit")


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate_per_s` tokens a second. The caller passes in the
    time in seconds, by any monotonic clock.
    """

    __slots__ = ("_at_s", "_tokens")

    def __init__(self, burst: float, now_s: float) -> None:
        self._tokens = float(burst)
        self._at_s = now_s

    def take_up_to(self, count: int, now_s: float, rate_per_s: float, burst: float) -> int:
        """Take as many tokens as there are, at most `count`. Returns how many were taken."""
        self._fill(now_s, rate_per_s, burst)
        taken = min(count, int(self._tokens))
        self._tokens -= taken
        return taken

    def wait_s(self, count: int, rate_per_s: float) -> float:
        """In how many seconds after the last call there will be `count` tokens."""
        return max(0.0, count - self._tokens) / rate_per_s

    def take_or_wait_s(
        self, now_s: float, rate_per_s: float, burst: float, tokens: float = 1.0
    ) -> float:
        """Take `tokens`, or the whole burst if that is less, and return 0.0. If there are not
        enough, take none and return in how many seconds there will be.
        """
        self._fill(now_s, rate_per_s, burst)
        tokens = min(tokens, burst)
        if self._tokens < tokens:
            return (tokens - self._tokens) / rate_per_s
        self._tokens -= tokens
        return 0.0

    def owe(self, now_s: float, rate_per_s: float, burst: float, tokens: float) -> None:
        """Take `tokens` even if they are not there yet. At most a burst can be owed."""
        self._fill(now_s, rate_per_s, burst)
        self._tokens = max(-burst, self._tokens - tokens)

    def give_back(self, tokens: float) -> None:
        """Put back tokens that were taken and are not used after all."""
        self._tokens += tokens

    def _fill(self, now_s: float, rate_per_s: float, burst: float) -> None:
        self._tokens = min(burst, self._tokens + max(0.0, now_s - self._at_s) * rate_per_s)
        self._at_s = now_s


class PerUser(Generic[Limit]):
    """One limit per user. Beyond `USERS_MAX` the one that was unused for longest is forgotten; by
    then it would be full again.
    """

    def __init__(self) -> None:
        self._limits: OrderedDict[UserId, Limit] = OrderedDict()

    def of(self, user_id: UserId, make: Callable[[], Limit]) -> Limit:
        """Return the limit of a user, made with `make` if there is none."""
        if user_id in self._limits:
            self._limits.move_to_end(user_id)
        else:
            self._limits[user_id] = make()
            if len(self._limits) > USERS_MAX:
                self._limits.popitem(last=False)
        return self._limits[user_id]


class Rates:
    """Limits how often each user may do one thing. `does` names that thing in messages, as in
    "alice looks up".
    """

    def __init__(self, does: str) -> None:
        self._does = does
        self._buckets: PerUser[TokenBucket] = PerUser()

    def check(
        self, user_id: UserId, now_s: float, rate_per_s: float, burst: float, tokens: float = 1.0
    ) -> None:
        """Take the cost of doing it once more. Raises `Refusal` (rate_limited) if the user has too
        few tokens.
        """
        bucket = self._bucket(user_id, now_s, burst)
        if wait_s := bucket.take_or_wait_s(now_s, rate_per_s, burst, tokens):
            raise Refusal(
                errors_pb2.ERROR_CODE_RATE_LIMITED,
                f"{user_id} {self._does} too often: wait {wait_s:.2f} s",
                int(wait_s * 1_000) + 1,
            )

    def owe(
        self, user_id: UserId, now_s: float, rate_per_s: float, burst: float, tokens: float
    ) -> None:
        """Take `tokens` more, for something that turned out to cost more than was taken before."""
        self._bucket(user_id, now_s, burst).owe(now_s, rate_per_s, burst, tokens)

    def _bucket(self, user_id: UserId, now_s: float, burst: float) -> TokenBucket:
        return self._buckets.of(user_id, lambda: TokenBucket(burst, now_s))
