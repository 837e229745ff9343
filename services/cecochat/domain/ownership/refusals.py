"""Why an owner refuses a send, or ends the session of its client."""

from __future__ import annotations

from cecochat.domain.errors import Refusal
from cecochat.domain.ownership.clock import LOOK_AGAIN_MS
from cecochat.v1 import errors_pb2


def reused_id(client_message_id: str) -> Refusal:
    """A client message id was used before for other content."""
    return Refusal(
        errors_pb2.ERROR_CODE_REUSED_ID,
        f"client_message_id {client_message_id!r} was accepted before with other content: use a "
        "new id for a new message",
    )


def ahead(seen: int) -> Refusal:
    """A client says that it has seen more than this server has delivered."""
    return Refusal(
        errors_pb2.ERROR_CODE_PROTOCOL,
        f"offset {seen} is ahead of everything that this server has delivered: use the last offset "
        "of this stream",
    )


def since_ahead(ahead_ms: int) -> Refusal:
    """A caller says that it has tried a send only in the future."""
    return Refusal(
        errors_pb2.ERROR_CODE_INVALID_ARGUMENT,
        f"since_ms is {ahead_ms / 1_000:.0f} s ahead of this server: correct your clock, or say an "
        "earlier time",
    )


def clock_ahead() -> Refusal:
    """The clock of this server is ahead of the log's."""
    return Refusal(
        errors_pb2.ERROR_CODE_CLOCK_AHEAD,
        "the clock of this server is more than a minute ahead of the log's: it accepts no messages "
        "until an operator has corrected it",
        LOOK_AGAIN_MS,
    )


def no_more_ids() -> Refusal:
    """The clock of this server is past the last message id."""
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "the clock of this server is decades ahead, where no message ids are left: an operator has "
        "to correct it",
    )


def too_many_groups(made_max: int) -> Refusal:
    """A user has made as many groups in one home as they may."""
    return Refusal(
        errors_pb2.ERROR_CODE_FORBIDDEN,
        f"you have made {made_max} groups whose ids are of the same partition as this one: use one "
        "of them, or ask an operator for more (groups.made_max)",
    )


def catch_up() -> Refusal:
    """A position is too old to tell a repeated send from a new one."""
    return Refusal(
        errors_pb2.ERROR_CODE_CATCH_UP,
        "this position is too old to tell a repeated send from a new one: reconnect and catch up, "
        "then send again",
    )
