"""How long a client waits before its next attempt, as the connect server asks for it."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 0.01  # so that no parameters turn the client into a busy loop


@dataclass(frozen=True, slots=True)
class BackOff:
    """Exponential back-off: the n-th wait in a row is `base_s * factor ** n`, at most `max_s`.

    The share `jitter` of each wait (0 to 1) is random, so that many clients do not come back in
    step.
    """

    base_s: float = 0.1
    factor: float = 2.0
    max_s: float = 5.0
    jitter: float = 0.5

    def wait_s(self, attempt: int, chance: float, at_least_s: float = 0.0) -> float:
        """Return how long to wait before `attempt`, counted from 0.

        `chance` is a random number from 0 to below 1. If a server asked for `at_least_s`, the wait
        is never shorter, and is spread over up to half as much again.
        """
        # The power must not overflow. After 64 attempts, any factor above 1 is at the maximum.
        whole_s = min(self.base_s * self.factor ** min(attempt, 64), self.max_s)
        drawn_s = whole_s * (1 - self.jitter * chance)
        return max(drawn_s, LEAST_S, at_least_s * (1 + self.jitter * chance))
