"""Says in one sentence where a message is."""

from __future__ import annotations

from collections.abc import Sequence

STATES = {
    "arrived": "it has arrived: every step is done",
    "void": "it was not accepted: this record counts for nobody, and nobody was told about it",
    "in_doubt": "it does not count for what is left of the log, but it may have been acknowledged",
    "gone": "the log does not hold it: it was dropped, or has vanished, or cannot be read",
    "absent": "there is no such message: the log reaches back far enough, but has no such record",
}


def verdict(state: str, waits_for: Sequence[str], chat: str | None, *, in_history: bool) -> str:
    """Return the verdict about a message.

    `in_history` is whether the history has what the log does not; it is looked into if `chat` is
    given.
    """
    if state == "on_its_way":
        waits = ", ".join(waits_for)
        return f"it is on its way; next: {waits}" if waits else "nothing more is known about it"
    more = ""
    if state == "gone" and not chat:
        more = "; name its chat to look into the history, too, which is kept for longer"
    elif state == "gone" and chat and not in_history:
        more = f", and neither does the history of {chat}"
    return STATES[state] + more
