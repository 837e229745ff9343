"""How long a client waits before its next attempt, as the connect server asks for it."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 0.01  # so that no parameters turn the client into a busy loop
ASKED_MAX_S = 600.0  # the longest that a server can ask for
RANGES = {
    "base_s": (0.01, 60.0),
    "factor": (1.0, 10.0),
    "max_s": (0.1, 600.0),
    "jitter": (0.0, 1.0),
}


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
        is never shorter, and is spread over up to half as much again. It can ask for at most 10
        minutes, and what is no number above 0 counts as not asked for.
        """
        # The power must not overflow. After 64 attempts, any factor above 1 is at the maximum.
        whole_s = min(self.base_s * self.factor ** min(attempt, 64), self.max_s)
        drawn_s = whole_s * (1 - self.jitter * chance)
        asked_s = min(at_least_s, ASKED_MAX_S) if at_least_s > 0 else 0.0
        return max(drawn_s, LEAST_S, asked_s * (1 + self.jitter * chance))


def asked_for(answer: object) -> BackOff:
    """Return what a connect server asks of its clients.

    What is no number, or too low, counts as not given, and what is too high as the highest. What
    is not known here is of a later version.
    """
    given = answer if isinstance(answer, dict) else {}
    taken: dict[str, float] = {}
    for name, (low, high) in RANGES.items():
        value = given.get(name)
        if isinstance(value, int | float) and value >= low:  # NaN is not
            taken[name] = float(min(value, high))
    return BackOff(**taken)
