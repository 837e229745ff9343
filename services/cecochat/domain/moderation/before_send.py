"""Who is asked before a message is accepted: a URL of the product, and what its answers mean."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.endpoints import check as check_endpoint
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Attachment
from cecochat.v1.messaging_pb2 import Send

KINDS: Final = ("message", "edit")
NAME: Final = "before-send"
DEADLINE_MS: Final = (50, 5_000)
REASON_MAX: Final = 1_000
"""How many characters of a reason are passed on."""
TEXT_MAX_BYTES: Final = 32 << 10

WhenAway = Literal["allow", "refuse"]


@dataclass(frozen=True, slots=True)
class BeforeSend:
    """Whom to ask about which kinds of sends, for how long at most, and what holds if nobody
    answers.
    """

    url: str
    created_ms: int
    deadline_ms: int = 1_000
    when_away: WhenAway = "allow"
    kinds: tuple[str, ...] = ("message", "edit")

    @property
    def endpoint(self) -> Endpoint:
        """The same as an endpoint of webhooks, since requests are signed alike."""
        return Endpoint(NAME, self.url, self.created_ms)

    def wants(self, send: Send) -> bool:
        """Return whether it is asked about a send."""
        return send.WhichOneof("body") in self.kinds


def check(before_send: BeforeSend) -> None:
    """Raise `Invalid` if nobody can be asked like that."""
    check_endpoint(before_send.endpoint)
    low, high = DEADLINE_MS
    deadline_ms = before_send.deadline_ms
    if not isinstance(deadline_ms, int) or not low <= deadline_ms <= high:
        raise Invalid(f"the deadline is {deadline_ms!r:.80}: use {low} to {high} ms")
    if before_send.when_away not in ("allow", "refuse"):
        raise Invalid(f"when_away is {before_send.when_away!r:.80}: use allow or refuse")
    if not before_send.kinds or not {*KINDS}.issuperset(before_send.kinds):
        raise Invalid(f"kinds is {before_send.kinds!r:.80}: use {' and '.join(KINDS)}")


def question(user_id: str, send: Send) -> dict[str, Any]:
    """Return what is asked about a send, whose text is plain."""
    kind = str(send.WhichOneof("body"))
    body = send.message if kind == "message" else send.edit
    about: dict[str, Any] = {
        "userId": user_id,
        "chatId": send.chat_id,
        "clientMessageId": send.client_message_id,
        "text": body.text,
        "mentions": [each.user_id for each in body.mentions],
    }
    if kind == "message":
        about["replyToId"] = str(send.message.reply_to_id or "")
        if send.message.attachments:
            about["attachments"] = [_described(each) for each in send.message.attachments]
    else:
        about["messageId"] = str(send.edit.message_id)
    return {"type": f"before_send.{kind}", "data": about}


def _described(attachment: Attachment) -> dict[str, Any]:
    """Return an attachment as webhooks have it."""
    return {
        "id": attachment.id,
        "name": attachment.name,
        "mediaType": attachment.media_type,
        "sizeBytes": str(attachment.size_bytes),
        "sha256": b64encode(attachment.sha256).decode(),
    }


def verdict(answer: bytes) -> Refusal | None:
    """Return why a send is to be refused, by the body of an answer; None: it is allowed, as by an
    empty one. Raises `ValueError` if the body is not an answer.
    """
    if not answer.strip():
        return None
    said = json.loads(answer)
    if not isinstance(said, Mapping):
        raise ValueError("the answer is not an object")
    reason, text = said.get("reason") or "", said.get("text", "")
    if not isinstance(reason, str) or not isinstance(text, str):
        raise ValueError("the reason or the text is not a string")
    if max(len(f"{each}".encode()) for each in (reason, text)) > TEXT_MAX_BYTES:
        raise ValueError("the reason or the text is too long")  # or half of a character
    match said.get("action"):
        case "allow":
            return None
        case "refuse":
            return _rejected(reason[:REASON_MAX] or "the application does not allow this message")
        case "change" if "text" in said:  # nothing is left of it if that is empty
            return _rejected(reason[:REASON_MAX] or "the application wants another text", text)
    raise ValueError("the action is not allow, refuse, or change with a text")


def when_away(before_send: BeforeSend) -> Refusal | None:
    """Return what holds while nobody answers."""
    if before_send.when_away == "allow":
        return None
    return _rejected("the application cannot be asked about this message now: send it later")


def _rejected(reason: str, replacement: str = "") -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_REJECTED, reason, replacement=replacement)


class Breaker:
    """Asks nobody for a while who has failed several times in a row."""

    FAILURES: Final = 5
    PAUSE_S: Final = 5.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nobody is to be asked now."""
        return self._clock() < self._until_s

    def note(self, *, failed: bool) -> None:
        """Note whether an answer came."""
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= self.FAILURES:
            self._until_s = self._clock() + self.PAUSE_S
