"""How old messages were at the stages of their path, as servers tell each other."""

from __future__ import annotations

from cecochat.internal.v1.internal_pb2 import StageAges
from cecochat.runtime.metrics import AGES_S, MessageAges


def of_stages(ages: MessageAges) -> list[StageAges]:
    """Return the counters of all stages that messages have reached on this server."""
    return [
        StageAges(stage=stage, bounds_s=AGES_S, counts=counts)
        for stage, counts in ages.counts().items()
    ]
