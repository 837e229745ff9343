"""Where a session starts, given the position that its client says it has."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.session.session import Began, How
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Gap, Hello, ReadToken


class Start(NamedTuple):
    """The position to start from, and whether the log no longer has what lies between the client's
    own position and this one.
    """

    position: int
    gapped: bool


def start(
    hello: Hello,
    *,
    log_id: str,
    partition: int,
    first_known: int,
    log_end: int,
    read_to: int,
    appended_at_ms: int,
    hidden_at: int = -1,
) -> Start:
    """Return where to start a session.

    The log is known from the position `first_known` up to below `log_end`, and the owner has read
    it up to below `read_to`; the caller has to find out `log_end` first. `appended_at_ms` is when
    the record at the client's position was appended, or one before it; 0 if that is not known.
    `hidden_at` is the last offset where the log does not show everything; -1 if there is none.

    - A client without a position starts live.
    - A position that is of another log, of another partition, beyond the end of the log, or in an
      end that the log has lost cannot be resumed. The client starts live, after a gap.
    - A position below what the log does not show starts live, after a gap.
    - A position below the first known state starts from that state, after a gap.

    Raises `Refusal` if the client is further than this owner has read. The owner lags, or another
    has taken over and it does not know yet; what it calls live would be the client's past.
    """
    live = read_to - 1
    if first_known > live:
        raise _behind()
    if not hello.HasField("position"):
        return Start(live, gapped=False)
    position = hello.position
    if position.log_id != log_id or position.partition != partition:
        return Start(live, gapped=True)
    if position.offset > live:
        if position.offset < log_end:
            raise _behind()
        return Start(live, gapped=True)
    if position.offset < hidden_at:
        return Start(live, gapped=True)
    if position.offset < first_known:
        return Start(first_known, gapped=True)
    if not Place(position.clock_ms, position.offset).holds_where(appended_at_ms):
        return Start(live, gapped=True)
    return Start(max(position.offset, -1), gapped=False)


def began(hello: Hello, start_: Start) -> Began:
    """Return how the session starts, to be shown to operators."""
    how: How = "gap" if start_.gapped else "resumed" if hello.HasField("position") else "live"
    return Began(start_.position, how, hello.device)


def read_token(
    log_id: str, partition: int, position: int, fold: Fold, partitions: int
) -> ReadToken:
    """Return the token of all that `fold`, which stands at `position`, has seen. `partitions` is
    their number; copies that claim to be from any other are left out, since anything may write
    those.
    """
    places = {origin: copied.origin for origin, copied in fold.high.items() if origin < partitions}
    if position >= 0:
        places[partition] = Place(fold.clock_ms, position)
    return ReadToken(
        log_id=log_id,
        offsets={origin: place.offset for origin, place in places.items()},
        clocks={origin: place.clock_ms for origin, place in places.items()},
    )


def gap(
    hello: Hello, log_id: str, partition: int, position: int, fold: Fold, partitions: int
) -> Gap:
    """Return what the client has to read from the history: all that `fold`, which stands at
    `position`, has seen.
    """
    token = read_token(log_id, partition, position, fold, partitions)
    return Gap(from_offset=hello.position.offset, to_offset=position, token=token)


def _behind() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "this server has not read as far as you have: ask the connect server where to go, or try "
        "again",
    )
