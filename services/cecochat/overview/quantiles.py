"""Estimates quantiles from the counters of a histogram, as Prometheus does."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """Return the value that the given share of the measurements does not exceed.

    `counts` has how many are at most as large as each of the ascending `bounds` and, as the last
    one, how many there are. Values are taken to be spread evenly between two bounds. The result is
    the last bound if the value is above it, and None if nothing was measured.
    """
    rank = share * counts[-1]
    if not counts[-1]:
        return None
    low = below = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return bounds[-1]
