"""The errors that this package raises. Those for clients have a stable code, which
`runtime.grpc` and `runtime.http` each map to a status. Messages say what was wrong and what to do.
"""

from __future__ import annotations

from typing import Self

from cecochat.v1 import errors_pb2
from cecochat.v1.errors_pb2 import ErrorCode

RETRIABLE = frozenset(
    {
        errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
        errors_pb2.ERROR_CODE_RATE_LIMITED,
        errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
        errors_pb2.ERROR_CODE_WRONG_SERVER,
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        errors_pb2.ERROR_CODE_BEHIND,
        errors_pb2.ERROR_CODE_SLOW,
        errors_pb2.ERROR_CODE_DRAINING,
        errors_pb2.ERROR_CODE_MOVED,
        errors_pb2.ERROR_CODE_CATCH_UP,
        errors_pb2.ERROR_CODE_CLOCK_AHEAD,
        errors_pb2.ERROR_CODE_TIMEOUT,
        errors_pb2.ERROR_CODE_INTERNAL,
    }
)


class CecochatError(Exception):
    """The base class of everything that this package raises on purpose."""


class Refusal(CecochatError):
    """An error for a client, with a code: what was wrong and what to do. If `retry_after_ms` is 0,
    the client waits as long as its back-off says. `replacement` is a text to send instead.
    """

    def __init__(
        self,
        code: ErrorCode.ValueType,
        message: str,
        retry_after_ms: int = 0,
        replacement: str = "",
    ) -> None:
        super().__init__(message)
        self.error_code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.replacement = replacement

    @classmethod
    def of(cls, error: errors_pb2.Error) -> Refusal:
        """Return the refusal that another server sent."""
        return Refusal(error.code, error.message, error.retry_after_ms, error.replacement)

    def detached(self) -> Self:
        """Return this error without the frames that it went through. Whoever keeps one in a local
        variable would keep its own frame alive with it, and all that came from the client, until
        the garbage collector looks.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    @property
    def retriable(self) -> bool:
        """Whether the same request can succeed later."""
        return self.error_code in RETRIABLE

    @property
    def name(self) -> str:
        """The code as metrics, JSON and logs name it, for example `rate_limited`."""
        return ErrorCode.Name(self.error_code).removeprefix("ERROR_CODE_").lower()

    def proto(self) -> errors_pb2.Error:
        """Return the refusal as a protobuf message."""
        return errors_pb2.Error(
            code=self.error_code,
            message=self.message,
            retriable=self.retriable,
            retry_after_ms=self.retry_after_ms,
            replacement=self.replacement,
        )


class Invalid(Refusal):
    """The refusal of something that is malformed or out of range, whoever asks and whenever."""

    def __init__(self, message: str) -> None:
        super().__init__(errors_pb2.ERROR_CODE_INVALID_ARGUMENT, message)


class ProducerEnded(CecochatError):
    """A producer session failed: open a new one and take the partition over again."""


class Trimmed(CecochatError):
    """Retention has dropped what should have been read."""

    def __init__(self, partition: int, offset: int, start: int) -> None:
        super().__init__(
            f"partition {partition} no longer has offset {offset}: retention has dropped what was "
            f"before {start}"
        )
        self.start = start


class Unavailable(CecochatError):
    """A backend does not answer at the moment. The same call can be made again."""


class Conflict(CecochatError):
    """Somebody else has changed the document first. Read it again, decide again, and put again."""


class CannotScale(CecochatError):
    """This deployment cannot run that many servers."""


class Undecodable(CecochatError):
    """A record of the log that cannot be understood."""


class InvalidSettings(CecochatError):
    """A setting or a configuration document is unknown, malformed or out of range; the message
    names it.
    """
