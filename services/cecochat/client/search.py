"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass

from cecochat.client.events import Message, message_of
from cecochat.v1.history_pb2 import SearchMessagesResponse


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Messages that were found, newest first, and whether there are more."""

    messages: list[Message]
    has_more: bool


def found_page_of(answer: SearchMessagesResponse) -> FoundPage:
    """Return what the history server has answered."""
    states = {state.message_id: state for state in answer.states}
    messages = [message_of(event, states.get(event.id)) for event in answer.messages]
    return FoundPage(messages, answer.has_more)
