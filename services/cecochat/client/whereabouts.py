"""How far a message has come, as the history tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cecochat.v1 import history_pb2


@dataclass(frozen=True, slots=True)
class Step:
    """One step on a message's path.

    - `name`: `accepted`, `acknowledged`, `forwarded`, `delivered` or `materialized`.
    - `state`: `done`, `waits` or `unknown`.
    - `at`: when it was done, in UTC; None if that is not recorded.
    """

    name: str
    state: str
    subject: str  # tells apart steps of the same name, such as `to bob`
    at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How far a message has come.

    `state` is `arrived`, `on_its_way` or `gone`. The last means that the log no longer holds it, so
    only the history tells about it.
    """

    message_id: int
    state: str
    waits_for: list[str]
    steps: list[Step]
    trace_id: str | None


def whereabouts_of(message_id: int, answer: history_pb2.FindMessageResponse) -> Whereabouts:
    """Convert the history server's answer about one message."""
    state = history_pb2.FindMessageResponse.State.Name(answer.state)
    return Whereabouts(
        message_id,
        state.removeprefix("STATE_").lower(),
        list(answer.waits_for),
        [_step_of(step) for step in answer.steps],
        answer.trace_id or None,
    )


def _step_of(step: history_pb2.MessageStep) -> Step:
    state = history_pb2.MessageStep.State.Name(step.state).removeprefix("STATE_").lower()
    at = datetime.fromtimestamp(step.at_ms / 1_000, UTC) if step.at_ms else None
    return Step(step.name, state, step.subject, at, step.text)
