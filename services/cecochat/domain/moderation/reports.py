"""Reports of messages and users, from the queue to a decision."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, get_args

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act, act_id
from cecochat.v1 import errors_pb2

State = Literal["open", "taken", "done"]
STATES: Final[tuple[State, ...]] = get_args(State)
"""A report goes through them in this order, and never back."""

TEXT_MAX_BYTES: Final = 1_000
NAME_MAX_BYTES: Final = 64
_CODE: Final = re.compile(r"[a-z0-9_-]{1,32}\Z")


class Target(NamedTuple):
    """What is reported: a message, or a user if it names no chat."""

    user_id: UserId  # the user, or who wrote the message
    chat_id: str = ""
    message_id: int = 0


class Report(NamedTuple):
    """What one user reports. It has the ids of what is reported, and never its text."""

    id: str  # see `report_id`
    reporter_id: UserId
    target: Target
    reason: str  # a code that the product chose
    text: bytes  # what the reporter says about it, sealed if texts are
    at_ms: int  # ms since 1970
    state: State = "open"
    moderator: str = ""  # who took it, or decided
    via: str = ""  # the service whose token the moderator used, or the command
    changed_at_ms: int = 0
    decision: str = ""  # a code that the product chose
    note: str = ""  # the moderator's, for other moderators
    version: int = 0  # the number of changes


def report_id(reporter: UserId, target: Target, number: int = 0) -> str:
    """Return the id of a report. The same report has the same id, so it is there once; `number`
    tells those that come after a decision.
    """
    said = "\0".join((reporter, *map(str, target), str(number)))
    return blake2b(said.encode(), digest_size=12).hexdigest()


def taken(report: Report, by: str, via: str, at_ms: int, *, over: bool = False) -> Report:
    """Return a report once a moderator has taken it; `over`: from another one. It is as it was if
    they had it already. Raises `Refusal` (invalid_argument, forbidden).
    """
    if report.state == "done":
        raise Invalid(f"{report.moderator} has decided about {report.id} already")
    if report.state == "taken" and report.moderator == by:
        return report
    _check_free(report, by, over)
    return _changed(report, by, via, at_ms)._replace(state="taken")


def decided(
    report: Report, by: str, via: str, at_ms: int, decision: str, note: str, *, over: bool = False
) -> Report:
    """Return a report once a moderator has decided. It is as it was if they had decided the same
    already. Raises `Refusal` (invalid_argument, forbidden).
    """
    if report.state == "done":
        if (report.moderator, report.decision, report.note) == (by, decision, note):
            return report
        raise Invalid(
            f"{report.moderator} has decided about {report.id} already: {report.decision}"
        )
    _check_free(report, by, over)
    done = _changed(report, by, via, at_ms)
    return done._replace(state="done", decision=decision, note=note)


def act_of(report: Report) -> Act:
    """Return the line of the audit log about the last change of a report."""
    target = report.target
    return Act(
        id=act_id(report.changed_at_ms, f"{report.id}.{report.version}"),
        at_ms=report.changed_at_ms,
        by=report.moderator,
        via=report.via,
        what="decide" if report.state == "done" else "take",
        detail=report.decision,
        reason=report.note,
        user_id=target.user_id,
        chat_id=target.chat_id,
        message_id=target.message_id,
        report_id=report.id,
    )


def has_passed(report: Report, state: State) -> bool:
    """Return whether a report has left a state behind."""
    return STATES.index(report.state) > STATES.index(state)


def check_code(name: str, code: str) -> None:
    """Check a reason or a decision. Raises `Refusal` (invalid_argument)."""
    if not _CODE.match(code):
        raise Invalid(f"{name} is {code[:80]!r}: use 1 to 32 of a-z, 0-9, _ and -")


def check_text(name: str, text: str, max_bytes: int = TEXT_MAX_BYTES) -> None:
    """Check how long a text is. Raises `Refusal` (too_large)."""
    if (size := len(text.encode())) > max_bytes:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE, f"{name} has {size} bytes: use at most {max_bytes}"
        )


def _check_free(report: Report, by: str, over: bool) -> None:
    if report.state == "taken" and report.moderator != by and not over:
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            f"{report.moderator} has taken {report.id}: ask them, or take it over",
        )


def _changed(report: Report, by: str, via: str, at_ms: int) -> Report:
    version = report.version + 1
    return report._replace(moderator=by, via=via, changed_at_ms=at_ms, version=version)
