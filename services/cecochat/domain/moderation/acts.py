"""What moderators did: the lines of the audit log."""

from __future__ import annotations

from typing import NamedTuple


class Act(NamedTuple):
    """One act of a moderator. Fields that say nothing are empty or 0."""

    id: str  # see `act_id`
    at_ms: int  # ms since 1970
    by: str  # the moderator
    via: str  # the service whose token was used, or the command
    what: str  # for example `take` or `decide`
    detail: str = ""  # for example the decision
    reason: str = ""  # for people
    user_id: str = ""  # on whom
    chat_id: str = ""
    message_id: int = 0
    report_id: str = ""


def act_id(at_ms: int, unique: str) -> str:
    """Return the id of an act. Ids sort by their times, and an act has the same one if it is noted
    again, so `unique` belongs to the act.
    """
    return f"{at_ms:012x}-{unique}"


def time_ms(act_id_: str) -> int:
    """Return the time in the id of an act, ms since 1970. Raises `ValueError` if it is no id."""
    return int(act_id_[:12], 16)
