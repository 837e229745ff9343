"""Formats lines of the log, as JSON or text, without message content and without floods."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from cecochat.domain.printable import as_json, printable

OWN = "cecochat"
ACCESS = f"{OWN}.operators"  # the log of operators who looked at people or changed something
EVERY_S = 30.0
KEPT = 1_000  # how many different lines are remembered

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes that every record has. All others were given as `extra`."""


class JsonLines(logging.Formatter):
    """Writes one JSON object per line.

    It has `ts`, `level`, the fields of `who`, `logger`, `message`, the ids of the active span, each
    `extra`, and `exception`.
    """

    def __init__(self, **who: str) -> None:
        super().__init__()
        self._who = {name: value for name, value in who.items() if value}

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": _rfc3339(record.created),
            "level": record.levelname.lower(),  # as `log.level` calls it
            **self._who,
            "logger": record.name,
            "message": record.getMessage(),
            **span_ids(),
            **{name: value for name, value in vars(record).items() if name not in STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return as_json(line, default=_without_payload)


class TextLines(logging.Formatter):
    """Writes time, level, `who`, logger and message, then `details` as JSON and the trace, if any.

    It is always one line, so that no text from outside can look like a line of ours.
    """

    def __init__(self, who: str = "") -> None:
        before = f"{who} " if who else ""
        super().__init__(f"%(asctime)s %(levelname)s {before}%(name)s: %(message)s")

    @override
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        parts = [super().formatMessage(record)]
        more = vars(record)
        if "details" in more:
            parts.append(json.dumps(more["details"], default=_without_payload))
        if "left_out" in more:
            parts.append(f"({more['left_out']} more lines like this were left out)")
        if trace_id := (span_ids() | more).get("trace_id"):
            parts.append(f"[trace {trace_id}]")
        return " ".join(parts).replace("\n", "\\n")


class WithoutPayload(logging.Filter):
    """Replaces bytes by their number.

    Libraries log what they could not parse, and that may be a message.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_without_payload_of_bytes, record.args))
        return True  # a container of bytes stays as it is, but no library here logs one


class Repeats(logging.Filter):
    """Lets a warning or error pass once in `EVERY_S`.

    The next one that passes says in `left_out` how many like it were left out. CecoChat's own lines
    are alike if they have the same words. A library's lines are alike if they have the same
    template and the same first argument, since the rest differs from attempt to attempt. A line of
    ours with a traceback always passes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()  # Cassandra's driver logs from threads of its own
        self._last: OrderedDict[int, tuple[float, int]] = OrderedDict()  # passed at, left out since

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        own = record.name.partition(".")[0] == OWN
        if record.levelno < logging.WARNING or (own and record.exc_info):
            return True
        try:
            words = record.getMessage() if own else f"{record.msg} {_subject(record)}"
        except Exception:  # noqa: BLE001 - the handler reports it; whoever logs must go on
            return True
        with self._lock:
            left_out = self._left_out(hash((record.name, record.levelno, words)))
        if left_out:
            record.left_out = left_out
        return left_out is not None

    def _left_out(self, key: int) -> int | None:
        """Return how many were left out since the last one, or None if this one is left out."""
        now_s = self._clock()
        passed_s, left_out = self._last.pop(key, (float("-inf"), 0))
        passes = now_s - passed_s >= EVERY_S
        self._last[key] = (now_s, 0) if passes else (passed_s, left_out + 1)
        if len(self._last) > KEPT:
            self._last.popitem(last=False)
        return left_out if passes else None


def handler(
    lines: logging.Formatter, clock: Callable[[], float] = time.monotonic
) -> logging.StreamHandler[Any]:
    """Return a handler that writes to standard error in the format of `lines`."""
    made: logging.StreamHandler[Any] = logging.StreamHandler()
    made.setFormatter(lines)
    made.addFilter(WithoutPayload())
    made.addFilter(Repeats(clock=clock))
    return made


def span_ids() -> dict[str, str]:
    """Return `trace_id` and `span_id` of the active span, or nothing if there is none."""
    from opentelemetry import trace  # commands that log nothing need not wait for it

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def ids_of(traceparent: str) -> dict[str, str]:
    """Return the same ids from a `traceparent`, or nothing if that is empty."""
    match traceparent.split("-"):
        case [_, trace_id, span_id, _]:
            return {"trace_id": trace_id, "span_id": span_id}
    return {}


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _subject(record: logging.LogRecord) -> str:
    return str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""


def _without_payload(value: object) -> str:
    return str(_without_payload_of_bytes(value))


def _without_payload_of_bytes(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return value
