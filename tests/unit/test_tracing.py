"""Which traces are made, and that a fault in one is no fault of a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN
from typing_extensions import override

from cecochat.domain import spans
from cecochat.domain.configuration import parse
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.records import Copy, Origin, decode, encode
from cecochat.domain.session import Session
from cecochat.messaging.tracing import MessageTraces
from cecochat.runtime.tracing import OFF, Tracer, Tracing, traceparent, valid
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event

_GONE = Refusal(errors_pb2.ERROR_CODE_MOVED, "gone")
ASKED = f"00-{'a' * 32}-{'b' * 16}-01"
NOT_ASKED = f"00-{'a' * 32}-{'b' * 16}-00"


class Nowhere(SpanExporter):
    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def tracer(**keys: float) -> Tracer:
    made = Tracing(exporter=Nowhere()).tracer("messaging", "m")
    made.configure(parse({"trace.ratio": 0.0} | {f"trace.{k}": v for k, v in keys.items()}))
    return made


def origin(trace: str = "") -> Origin:
    event = Event(id=7, user_id="alice", client_message_id="m", recipient_ids=["bob"])
    return Origin(7, 0, 0, "alice", "m", ("bob",), event.SerializeToString(), event, trace)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (ASKED, True),
        (NOT_ASKED, True),
        ("", False),
        (ASKED.upper(), False),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'0' * 16}-01", False),
        (f"01{ASKED[2:]}", False),
        (f"{ASKED}-more", False),
        (f"{ASKED}\n", False),
    ],
)
def test_what_is_a_traceparent(text: str, good: bool) -> None:
    assert valid(text) is good


def test_a_caller_may_ask_for_so_many_a_second() -> None:
    one = tracer(forced_rate=2.0)
    assert [one.sampled(ASKED) for _ in range(20)].count(True) <= 3
    assert not tracer(forced_rate=0.0).sampled(ASKED)
    assert not tracer().sampled(NOT_ASKED)
    assert not OFF.sampled(ASKED)


def test_the_ratio_decides_for_the_others() -> None:
    always = tracer(ratio=1.0, forced_rate=0.0)
    assert always.sampled("")
    assert always.sampled(NOT_ASKED)


def test_a_server_without_traces_puts_none_of_a_client_into_the_log() -> None:
    record = origin()
    MessageTraces(OFF, 0).accept(ASKED, record)
    assert record.trace == ""


def test_a_message_that_is_traced_carries_the_context_of_its_append() -> None:
    record = origin()
    MessageTraces(tracer(), 0).accept(ASKED, record)
    assert record.trace.startswith(f"00-{'a' * 32}-")
    assert record.trace != ASKED
    read = decode(*encode(record))
    assert isinstance(read, Origin)
    assert read.trace == record.trace
    copy = Copy(7, 0, 1, -1, ("bob",), record.event, record.trace)
    assert decode(*encode(copy)) == copy


def test_a_record_without_a_trace_has_no_header() -> None:
    assert "traceparent" not in dict(encode(origin())[2])


@pytest.mark.parametrize(
    "hostile",
    ["\0", "x" * 100_000, "\ud800", "00-", ASKED[:-1]],
    ids=["zero", "long", "surrogate", "short", "cut"],
)
def test_whatever_a_client_or_a_record_says_is_borne(hostile: str) -> None:
    one = tracer(ratio=1.0)
    record = origin()
    MessageTraces(one, 0).accept(hostile, record)
    assert valid(record.trace)
    one.start(spans.DELIVER, hostile).end()


def test_a_fault_of_a_trace_is_none_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tracer(ratio=1.0)
    monkeypatch.setattr(one, "start", lambda *_, **__: 1 / 0)
    traces, record = MessageTraces(one, 0), origin()
    traces.accept(ASKED, record)
    copies = [Copy(7, 0, 1, -1, ("bob",), b"", ASKED)]
    with traces.appending(), traces.forwarding(1, copies):
        pass
    assert record.trace == ""


def test_every_attribute_has_a_meaning() -> None:
    used = set().union(*(spec.attributes for spec in spans.SPECS))
    assert used == set(spans.ATTRIBUTES)
    assert len({spec.name for spec in spans.SPECS}) == len(spans.SPECS)


def test_spans_are_begun_where_their_specification_is_asked_for() -> None:
    """What is not begun there would be in no list."""
    services = Path(spans.__file__).parents[1]
    begin = re.compile(r"\.(?:start_span|start_as_current_span)\((?!\w+\.name\b)")
    wrong = [path for path in services.rglob("*.py") if begin.search(path.read_text())]
    assert wrong == [services / "runtime" / "tracing.py"]  # `Tracer.start`


# -- where to


def test_what_is_no_url_is_told_at_the_start() -> None:
    with pytest.raises(InvalidSettings, match=r"use http://host:4318"):
        Tracing("127.0.0.1:4318")


def test_the_context_of_no_span_is_empty() -> None:
    assert traceparent(INVALID_SPAN) == ""


# -- what was written


def session(told: list[bool]) -> Session:
    made = Session("s", "alice", queue_max_bytes=100, wake=lambda: None)
    made.push(b"before")
    made.when_written(told.append)
    return made


def test_written_is_told_when_all_before_it_was() -> None:
    told: list[bool] = []
    made = session(told)
    made.written()
    assert told == []
    made.push(b"after")
    made.take(1)
    made.written()
    assert told == [True]


@pytest.mark.parametrize("end", ["dropped", "ended"])
def test_what_never_will_be_written_is_told_as_that(end: str) -> None:
    told: list[bool] = []
    made = session(told)
    if end == "dropped":
        made.push(b"x" * 200)
    else:
        made.ended()
    made.take(1_000)
    made.written()
    assert told == [False]
    made.close(made.closed or _GONE)
    made.when_written(told.append)
    assert told == [False, False]
