"""Where one message is: who may ask, how many at once, and for how long."""

from __future__ import annotations

import asyncio

from cecochat.domain.errors import Invalid, Refusal, Trimmed, Unavailable
from cecochat.domain.log import ids
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import FindMessageRequest, FindMessageResponse, MessageStep
from cecochat.where import answer as where
from cecochat.where.facts import Gathering, Sources

AT_ONCE = 4  # each reads some thousand records of the log
WITHIN_S = 10.0


class Where:
    """Answers for one history server."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def for_operator(self, message_id: int, chat_id: str) -> where.Answer:
        """Where that message is. `chat_id`: in whose history to look, if the log does not hold it
        any more; or empty.

        Raises `Refusal` (invalid_argument), `Unavailable`.
        """
        if chat_id:
            ids.chat_id(chat_id)
        return await self._find(message_id, chat_id, None)

    async def for_participant(self, user: str, message_id: int, chat_id: str) -> where.Answer:
        """The same, for who has sent or is sent it; the sessions of others are not shown. Raises
        `Refusal` (not_found to everybody else) too.
        """
        if chat_id:
            ids.authorise(ids.UserId(user), ids.chat_id(chat_id))
        return await self._find(message_id, chat_id, user)

    async def call(self, user: str, request: FindMessageRequest) -> bytes:
        """`for_participant` as the proto has it."""
        answer = await self.for_participant(user, request.message_id, request.chat_id)
        response = FindMessageResponse(
            state=FindMessageResponse.State.Value(f"STATE_{answer.verdict.upper()}"),
            waits_for=answer.waits_for,
            steps=[_step(step) for step in answer.steps],
            trace_id=answer.trace_id or "",
        )
        return response.SerializeToString()

    async def _find(self, message_id: int, chat_id: str, viewer: str | None) -> where.Answer:
        self._check(message_id)
        gathering = Gathering(self._sources, message_id)
        try:
            async with asyncio.timeout(WITHIN_S), self._turns:
                await gathering.locate(chat_id)
                if viewer is None:
                    return where.answer(await gathering.facts())
                _authorise(viewer, gathering, message_id)
                return where.answer(where.seen_by(await gathering.facts(), viewer))
        except TimeoutError:
            raise Unavailable(f"not found out within {WITHIN_S:g} s: the log is slow") from None
        except Trimmed as error:
            raise Unavailable(f"retention overtook the search: {error}") from None

    def _check(self, message_id: int) -> None:
        known = 0 < message_id < 1 << 63
        if not known or ids.partition_in(message_id) >= self._sources.log.partitions:
            raise Invalid(
                f"{message_id} is no message id of this log: use one as a send or the history "
                "gives it",
            )


def _step(step: where.Step) -> MessageStep:
    return MessageStep(
        name=step.name,
        state=MessageStep.State.Value(f"STATE_{step.state.upper()}"),
        subject=step.subject,
        at_ms=step.at_ms or 0,
        text=step.text,
    )


def _authorise(viewer: str, gathering: Gathering, message_id: int) -> None:
    """What is not there, does not count or is none of their business is the same to them."""
    event = gathering.event
    if event and gathering.counts and viewer in (event.user_id, *event.recipient_ids):
        return
    raise Refusal(
        errors_pb2.ERROR_CODE_NOT_FOUND,
        f"no message {message_id} of yours is in the log: for an older one, say its chat",
    )
