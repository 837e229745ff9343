"""How long to wait before the next attempt to connect, as the connect server asks for it."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 0.01  # whatever is asked for, it is never a busy loop


@dataclass(frozen=True, slots=True)
class BackOff:
    """The n-th wait in a row is `base_s * factor ** n`, at most `max_s`; the part `jitter` of it is
    random, so that many clients do not come back in step.
    """

    base_s: float = 0.1
    factor: float = 2.0
    max_s: float = 5.0
    jitter: float = 0.5

    def wait_s(self, attempt: int, chance: float, at_least_s: float = 0.0) -> float:
        """The wait before `attempt` (0: the first). `chance`: random, from 0 to below 1.

        A server's `at_least_s` is kept to, and spread over half as much again.
        """
        # Past 64 attempts any factor above 1 has reached the maximum; a power must not overflow.
        whole_s = min(self.base_s * self.factor ** min(attempt, 64), self.max_s)
        drawn_s = whole_s * (1 - self.jitter * chance)
        return max(drawn_s, LEAST_S, at_least_s * (1 + self.jitter * chance))
