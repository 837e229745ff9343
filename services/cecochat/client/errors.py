"""The errors that the client raises. All have a stable code, and a message that says what to do."""

from __future__ import annotations

from cecochat.domain.errors import RETRIABLE, CecochatError
from cecochat.v1 import errors_pb2
from cecochat.v1.errors_pb2 import ErrorCode

INVALID_ARGUMENT = "invalid_argument"


class ChatError(CecochatError):
    """Base of all errors of the client.

    - `code`: a name that never changes its meaning, such as `unauthenticated` or `rate_limited`.
    - `retriable`: whether the same call may succeed later.
    - `retry_after_s`: how long to wait before that, in seconds; 0 if the server does not say.
    """

    def __init__(
        self, code: str, message: str, *, retriable: bool = False, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retriable = retriable
        self.retry_after_s = retry_after_s


class NotReachable(ChatError):
    """No server answered, or what answered is not a CecoChat server. Code `not_reachable`."""

    def __init__(self, message: str) -> None:
        super().__init__("not_reachable", message, retriable=True)


class Refused(ChatError):
    """A server refused the call. The code is that of `cecochat.v1.ErrorCode`, in lower case."""


class InvalidArgument(Refused):
    """An argument of a call is wrong, and the same call will never succeed.

    The client finds nearly all of them itself, before anything leaves; a server finds the rest.
    Code `invalid_argument`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(INVALID_ARGUMENT, message)


class SendRejected(Refused):
    """The server rejected this send, and would reject it again unless it changes.

    - `replacement`: the text that the application wants to be sent instead, as a new message;
      usually empty.
    """

    def __init__(self, client_message_id: str, error: errors_pb2.Error) -> None:
        super().__init__(name_of(error.code), error.message)
        self.client_message_id = client_message_id
        self.replacement = error.replacement


def reused_id(client_message_id: str) -> SendRejected:
    """An unanswered send has this id, and other content: a server would refuse this one."""
    message = f"{client_message_id!r} is queued with other content: use a new id for a new message"
    error = errors_pb2.Error(code=errors_pb2.ERROR_CODE_REUSED_ID, message=message)
    return SendRejected(client_message_id, error)


class Closed(ChatError):
    """The client was closed. A send that was under way may have been accepted. Code `closed`."""

    def __init__(self, message: str = "the client is closed: connect again") -> None:
        super().__init__("closed", message)


class TimedOut(ChatError):
    """A call of the synchronous client took too long. Code `timeout`.

    - `client_message_id`: of the send that was not acknowledged in time, or empty. It may still be
      accepted. To try again without doubling it, send it with this id.
    """

    def __init__(self, message: str, client_message_id: str = "") -> None:
        super().__init__("timeout", message, retriable=True)
        self.client_message_id = client_message_id


class NotRead(ChatError):
    """Too many of the client's events are waiting to be read. Code `not_read`."""

    def __init__(self) -> None:
        super().__init__(
            "not_read",
            "the events of this client are not being read: iterate over it, or connect with "
            "listen=False if you only send",
        )


class StateUnusable(ChatError):
    """The saved state of the device cannot be used. Code `state_unusable`."""

    def __init__(self, message: str) -> None:
        super().__init__("state_unusable", message)


class StateInUse(StateUnusable):
    """Another client is using the saved state."""


def name_of(code: ErrorCode.ValueType) -> str:
    """Return `rate_limited` for `ERROR_CODE_RATE_LIMITED`, and the number of an unknown code."""
    try:
        return ErrorCode.Name(code).removeprefix("ERROR_CODE_").lower()
    except ValueError:
        return str(code)


def refused(error: errors_pb2.Error) -> Refused:
    """Return the exception for a typed error that a server sent."""
    if error.code == errors_pb2.ERROR_CODE_INVALID_ARGUMENT:
        return InvalidArgument(error.message)
    return Refused(
        name_of(error.code),
        error.message,
        retriable=error.retriable or error.code in RETRIABLE,
        retry_after_s=error.retry_after_ms / 1_000,
    )
