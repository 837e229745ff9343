"""Where a session starts, given what its client says it knows."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.session.session import Began, How
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Gap, Hello, ReadToken


class Start(NamedTuple):
    """The position to start from, and whether what lies between the client's own and this one is
    lost to the log.
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
) -> Start:
    """Where to start a session in a log that is known from the position `first_known` up to below
    `log_end`, with an owner that has read it up to below `read_to`. Take `log_end` first.
    `appended_at_ms`: when the record at the position was, or one before it; 0: not known.

    No position: live. Of another log, another partition or beyond the end, or of an end that this
    log has lost: nothing can be resumed, so live after a gap. Below the first known state: from
    there, after a gap. Raises `Refusal` where this owner has not read as far as the client: it
    lags, or was taken over from without knowing it yet, and what it calls live is the client's
    past.
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
    if position.offset < first_known:
        return Start(first_known, gapped=True)
    if not Place(position.clock_ms, position.offset).holds_where(appended_at_ms):
        return Start(live, gapped=True)
    return Start(max(position.offset, -1), gapped=False)


def began(hello: Hello, start_: Start) -> Began:
    """How the session starts, for those who ask later."""
    how: How = "gap" if start_.gapped else "resumed" if hello.HasField("position") else "live"
    return Began(start_.position, how, hello.device)


def gap(
    hello: Hello, log_id: str, partition: int, position: int, fold: Fold, partitions: int
) -> Gap:
    """What to read from the history: all that `fold`, standing at `position`, has seen, whatever
    of the log's `partitions` it came from. A stranger may have written a copy from another one.
    """
    places = {origin: copied.origin for origin, copied in fold.high.items() if origin < partitions}
    if position >= 0:
        places[partition] = Place(fold.clock_ms, position)
    token = ReadToken(
        log_id=log_id,
        offsets={origin: place.offset for origin, place in places.items()},
        clocks={origin: place.clock_ms for origin, place in places.items()},
    )
    return Gap(from_offset=hello.position.offset, to_offset=position, token=token)


def _behind() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "this server has not read as far as you have: ask the connect server again, or come back",
    )
