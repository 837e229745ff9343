"""Lines of the log: what they hold, in JSON and as text, and what is left out."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from cecochat.cli import logs as command_line
from cecochat.cli.cluster import up
from cecochat.cli.main import app
from cecochat.domain.cluster.balance import Move
from cecochat.domain.errors import InvalidSettings
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.planner import Decision
from cecochat.settings.settings import Settings, as_environment, load
from cecochat.telemetry import logs
from cecochat.telemetry.logs import EVERY_S, KEPT, JsonLines, TextLines

OURS = logging.getLogger("cecochat.of.a.test")
THEIRS = logging.getLogger("library.of.a.test")
DOWN = "Unable connect to node with id %s: %s"  # as aiokafka says it


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Written:
    """What a handler, made as servers make it, has written."""

    def __init__(self, lines: logging.Formatter, clock: Clock) -> None:
        self.handler = logs.handler(lines, clock)
        self._stream = io.StringIO()
        self.handler.setStream(self._stream)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def left_out(self) -> list[tuple[str, int | None]]:
        """Message, and how many like it were left out before."""
        return [(each["message"], each.get("left_out")) for each in self.objects]


Writing = Callable[[logging.Formatter], Written]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Afterwards its handlers, and the level of our own, are as they were."""
    root, own = logging.getLogger(), logging.getLogger("cecochat")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    own.setLevel(logging.INFO)
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


@pytest.fixture
def writing(root: logging.Logger, clock: Clock) -> Writing:
    """What is logged from then on is written."""

    def write(lines: logging.Formatter) -> Written:
        written = Written(lines, clock)
        root.addHandler(written.handler)
        return written

    return write


# -- JSON


def test_a_line_of_json_says_when_who_and_what(writing: Writing) -> None:
    written = writing(JsonLines(service="messaging", instance_id="messaging-1"))
    OURS.warning("partition %s: left", 3, extra={"partition": 3, "message_id": "17"})
    (line,) = written.objects
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "level": "warning",
        "service": "messaging",
        "instance_id": "messaging-1",
        "logger": "cecochat.of.a.test",
        "message": "partition 3: left",
        "partition": 3,
        "message_id": "17",
    }


def test_the_time_is_utc_with_milliseconds() -> None:
    record = logging.makeLogRecord({"created": 1_790_000_000.25})
    assert json.loads(JsonLines().format(record))["ts"] == "2026-09-21T14:13:20.250Z"


def test_an_exception_and_odd_text_stay_on_one_line(
    writing: Writing, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "handlers", [])  # those of pytest, whose workers cannot tell it on
    written = writing(JsonLines())
    try:
        raise ValueError('two\nlines, "quoted" \ud800')
    except ValueError:
        OURS.exception("what\nhappened\u2028here")
    (line,) = written.objects
    assert line["message"] == "what\nhappened\u2028here"
    assert "Traceback" in line["exception"]
    assert 'ValueError: two\nlines, "quoted" \ud800' in line["exception"]


def test_in_text_nobody_else_begins_a_line(writing: Writing) -> None:
    written = writing(TextLines())
    OURS.info("refused: %s", "alice\n2026-11-28 01:00:00,000 INFO cecochat.operators: forged")
    try:
        raise ValueError("why")
    except ValueError:
        OURS.exception("it failed")
    said, failed, *trace = written.lines
    assert said.endswith(r"refused: alice\n2026-11-28 01:00:00,000 INFO cecochat.operators: forged")
    assert failed.endswith("it failed")
    assert len(trace) > 1, "a trace keeps its lines"


def test_a_value_that_is_no_json_is_told_in_words(writing: Writing) -> None:
    written = writing(JsonLines())
    OURS.warning("odd", extra={"error": OSError("full"), "frame": b"a secret"})
    (line,) = written.objects
    assert (line["error"], line["frame"]) == ("full", "<8 bytes>")


def test_the_span_that_is_active_is_named(writing: Writing) -> None:
    span = NonRecordingSpan(SpanContext(0xAB, 0xC, is_remote=False))
    as_json, as_text = writing(JsonLines()), writing(TextLines())
    with use_span(span):
        OURS.warning("inside")
    OURS.warning("outside")
    inside, outside = as_json.objects
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xAB:032x}", f"{0xC:016x}")
    assert outside.keys() & {"trace_id", "span_id"} == set()
    assert as_text.lines[0].endswith(f"inside [trace {0xAB:032x}]")
    assert as_text.lines[1].endswith("outside")


def test_a_decision_is_fields_in_json_and_a_sentence_in_text(writing: Writing) -> None:
    as_json, as_text = writing(JsonLines()), writing(TextLines("control"))
    move = Move(6, "messaging-a", "messaging-b", "failover")
    decision = Decision(1, [move], {6: "messaging-b"}, "not live: messaging-a")
    Decisions(CollectorRegistry()).moved(decision, 2)
    (line,) = as_json.objects
    moves = [{"partitions": "6", "from": "messaging-a", "to": "messaging-b", "reason": "failover"}]
    details = {"version": 2, "moves": moves, "left_out": 0}
    assert line["message"] == "moved: not live: messaging-a"
    assert (line["kind"], line["reason"]) == ("moved", "not live: messaging-a")
    assert line["details"] == details
    (text,) = as_text.lines
    said = f"moved: not live: messaging-a {json.dumps(details)}"
    assert text.endswith(f" INFO control cecochat.servers.control.decisions: {said}")


# -- what is left out


def test_what_a_library_repeats_of_one_thing_passes_now_and_then(
    writing: Writing, clock: Clock
) -> None:
    written = writing(JsonLines())
    for attempt in range(300):
        THEIRS.error(DOWN, 1, f"attempt {attempt}")
        THEIRS.error(DOWN, 2, f"attempt {attempt}")
    clock.now_s += EVERY_S
    THEIRS.error(DOWN, 1, "attempt 300")
    THEIRS.error(DOWN, 1, "attempt 301")
    said = "Unable connect to node with id"
    assert written.left_out == [
        (f"{said} 1: attempt 0", None),
        (f"{said} 2: attempt 0", None),
        (f"{said} 1: attempt 300", 299),
    ]


def test_in_text_what_was_left_out_is_told_too(writing: Writing, clock: Clock) -> None:
    written = writing(TextLines())
    for _ in range(4):
        THEIRS.error(DOWN, 1, "refused")
    clock.now_s += EVERY_S
    THEIRS.error(DOWN, 1, "refused")
    first, second = written.lines
    assert first.endswith("ERROR library.of.a.test: Unable connect to node with id 1: refused")
    assert second.endswith("1: refused (3 more lines like this were left out)")


def test_of_our_own_only_the_same_words_are_a_repeat(writing: Writing) -> None:
    written = writing(JsonLines())
    for session in range(3):
        OURS.warning("a session is sent away: %s", "no log", extra={"session_id": session})
        OURS.warning("partition %s: lost", session)
    assert written.left_out == [
        ("a session is sent away: no log", None),
        *((f"partition {number}: lost", None) for number in range(3)),
    ]


def test_events_and_tracebacks_of_our_own_all_pass(writing: Writing) -> None:
    written = writing(JsonLines())
    for _ in range(3):
        OURS.info("moved")
        OURS.error("a stream failed", exc_info=ValueError("why"))
    assert [line["message"] for line in written.objects] == ["moved", "a stream failed"] * 3


def test_what_is_remembered_of_repeats_is_bounded(writing: Writing) -> None:
    written = writing(JsonLines())
    for number in (*range(KEPT + 1), 0, KEPT):
        OURS.warning("number %s", number)
    assert len(written.lines) == KEPT + 2, "the oldest is forgotten, the newest is not"


def test_bytes_that_a_library_could_not_read_are_not_shown(writing: Writing) -> None:
    as_json, as_text = writing(JsonLines()), writing(TextLines())
    THEIRS.error("Error decoding response. %s; buffer: %r", "header", b"meet me at eight")
    THEIRS.error("one argument: %r", bytearray(b"meet me at eight"))
    for line in (*as_json.lines, *as_text.lines):
        assert "meet me" not in line
        assert "<16 bytes>" in line


# -- the command line


@pytest.mark.parametrize(
    ("form", "terminal", "as_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("json", True, True),
        ("text", False, False),
    ],
)
def test_the_form_follows_the_setting_and_the_terminal(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, form: str, terminal: bool, as_json: bool
) -> None:
    root.handlers.clear()
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    command_line.to_standard_error(form, "history", "history-1", level=logging.INFO)
    OURS.info("an event")
    THEIRS.info("chatter")
    command_line.say("port 1 cannot be used")
    said, last = stream.getvalue().splitlines()
    if as_json:
        assert json.loads(said)["instance_id"] == "history-1"
        assert json.loads(last)["level"] == "critical"
        assert json.loads(last)["message"] == "port 1 cannot be used"
    else:
        assert said.endswith(" INFO history cecochat.of.a.test: an event")
        assert "cecochat: port 1 cannot be used" in last


def test_what_nobody_expected_ends_as_a_line_of_json(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.handlers.clear()
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    command_line.to_standard_error("json", "history")
    error = ValueError("nobody expected it")
    sys.excepthook(ValueError, error, None)
    line = json.loads(stream.getvalue())
    assert (line["level"], line["message"]) == ("critical", "this process ends with an error")
    assert line["exception"] == "ValueError: nobody expected it"


@pytest.mark.parametrize(
    ("given", "form"), [({}, "text"), ({"CECOCHAT_LOG_FORMAT": "json"}, "json")]
)
def test_up_and_the_servers_that_it_starts_write_text_unless_told_otherwise(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    given: dict[str, str],
    form: str,
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr(up, "_serve", lambda settings, *_: served.append(settings))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    done = CliRunner().invoke(app([]), ["up", "--data", str(tmp_path)], env=given)
    assert done.exit_code == 0, done.output
    assert as_environment(served[0])["CECOCHAT_LOG_FORMAT"] == form


def test_a_form_that_is_none_stops_the_start() -> None:
    with pytest.raises(InvalidSettings, match="CECOCHAT_LOG_FORMAT is 'yaml': use one of auto"):
        load({"CECOCHAT_LOG_FORMAT": "yaml"})
