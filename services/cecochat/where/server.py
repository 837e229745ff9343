"""Serves the question where a message is: to whom, how many at once, and for how long."""

from __future__ import annotations

import asyncio

from cecochat.domain.errors import Invalid, Trimmed, Unavailable
from cecochat.domain.log import ids
from cecochat.ports import access
from cecochat.v1.history_pb2 import FindMessageRequest, FindMessageResponse, MessageStep
from cecochat.where import answer as where
from cecochat.where.facts import Gathering, Sources

AT_ONCE = 4  # each search reads some thousand records of the log
WITHIN_S = 10.0


class Where:
    """Answers on behalf of one history server."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def for_operator(self, message_id: int, chat_id: str) -> where.Answer:
        """Return where a message is.

        If the log no longer holds it, it is looked for in the history of `chat_id`. Raises
        `Refusal` (invalid_argument), `Unavailable`.
        """
        chat = ids.chat_id(chat_id) if chat_id else None
        return await self._find(message_id, chat, None)

    async def for_participant(
        self, user_id: ids.UserId, message_id: int, chat_id: str
    ) -> where.Answer:
        """Return the same to the sender or a recipient, without the sessions of the others.

        Raises `Refusal` (not_found for anybody else, forbidden for the dialog of others), too.
        """
        chat = ids.chat_id(chat_id) if chat_id else None
        if chat:
            await access.seen(self._sources.history, user_id, chat)
        return await self._find(message_id, chat, user_id)

    async def call(self, user_id: ids.UserId, request: FindMessageRequest) -> bytes:
        """Answer the gRPC call `FindMessage`, as `for_participant` does."""
        answer = await self.for_participant(user_id, request.message_id, request.chat_id)
        response = FindMessageResponse(
            state=FindMessageResponse.State.Value(f"STATE_{answer.state.upper()}"),
            waits_for=answer.waits_for,
            steps=[_step(step) for step in answer.steps],
            trace_id=answer.trace_id or "",
        )
        return response.SerializeToString()

    async def _find(
        self, message_id: int, chat_id: ids.ChatId | None, viewer: ids.UserId | None
    ) -> where.Answer:
        self._check(message_id)
        gathering = Gathering(self._sources, message_id)
        try:
            async with asyncio.timeout(WITHIN_S), self._turns:
                await gathering.locate(chat_id)
                if viewer is None:
                    await gathering.find_members()
                    return where.answer(await gathering.facts())
                await gathering.authorise(viewer)
                return where.answer(where.seen_by(await gathering.facts(), viewer))
        except TimeoutError:
            raise Unavailable(
                f"the search took over {WITHIN_S:g} s, since the log is slow: try again"
            ) from None
        except Trimmed as error:
            raise Unavailable(f"retention overtook the search ({error}): try again") from None

    def _check(self, message_id: int) -> None:
        has_63_bits = 0 < message_id < 1 << 63
        if not has_63_bits or ids.partition_in(message_id) >= self._sources.log.partitions:
            raise Invalid(
                f"{message_id} is not a message id of this log: use an id that a send returned or "
                "the history shows",
            )


def _step(step: where.Step) -> MessageStep:
    return MessageStep(
        name=step.name,
        state=MessageStep.State.Value(f"STATE_{step.state.upper()}"),
        subject=step.subject,
        at_ms=step.at_ms or 0,
        text=step.text,
    )
