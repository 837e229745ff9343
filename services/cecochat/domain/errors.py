"""Errors with a stable code. One table maps a code to gRPC and HTTP; messages say what was wrong
and what to do.
"""

from __future__ import annotations

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
    """Base of everything that this package raises on purpose."""


class Refusal(CecochatError):
    """A typed answer to a client: what was wrong and what to do. `retry_after_ms` 0: as the
    back-off says.
    """

    def __init__(self, code: ErrorCode.ValueType, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.error_code = code
        self.message = message
        self.retry_after_ms = retry_after_ms

    @property
    def retriable(self) -> bool:
        """Whether the same request can succeed later."""
        return self.error_code in RETRIABLE

    @property
    def name(self) -> str:
        """The code as metrics, JSON and logs name it: `rate_limited`."""
        return ErrorCode.Name(self.error_code).removeprefix("ERROR_CODE_").lower()

    def proto(self) -> errors_pb2.Error:
        """The refusal as it travels."""
        return errors_pb2.Error(
            code=self.error_code,
            message=self.message,
            retriable=self.retriable,
            retry_after_ms=self.retry_after_ms,
        )


class Invalid(Refusal):
    """The refusal of something that is malformed or out of range, whoever asks and whenever."""

    def __init__(self, message: str) -> None:
        super().__init__(errors_pb2.ERROR_CODE_INVALID_ARGUMENT, message)


class ProducerEnded(CecochatError):
    """A producer session failed: open a new one and take the partition over again."""


class Trimmed(CecochatError):
    """Retention has dropped what was to be read."""

    def __init__(self, partition: int, offset: int, start: int) -> None:
        super().__init__(
            f"partition {partition}: offset {offset} is dropped, the log starts at {start}"
        )
        self.start = start


class Unavailable(CecochatError):
    """A backend does not answer just now; the same call can be made again."""


class Conflict(CecochatError):
    """Somebody else changed the document first: read it again, decide again, put again."""


class CannotScale(CecochatError):
    """This deployment cannot run that many servers."""


class Undecodable(CecochatError):
    """A record of the log that cannot be understood."""


class InvalidSettings(CecochatError):
    """A setting or a configuration document is unknown, malformed or out of range; the message
    names it.
    """
