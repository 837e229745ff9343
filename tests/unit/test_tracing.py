"""Which traces are made, and that a fault in one is no fault of a message."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN
from typing_extensions import override

from cecochat.adapters import build
from cecochat.cli import changes as cli_changes
from cecochat.cli.operate import trace as cli_trace
from cecochat.documents import changes
from cecochat.domain.cluster.values import parse
from cecochat.domain.errors import InvalidSettings, ProducerEnded, Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, Origin, decode, encode
from cecochat.domain.session.session import Session
from cecochat.ports.configuration import CONFIGURATION
from cecochat.ports.history import MessageRow
from cecochat.servers.materialize.rows import Rows
from cecochat.servers.materialize.tracing import materializing
from cecochat.servers.messaging.tracing import MessageTraces
from cecochat.settings.settings import Settings
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import OFF, Tracer, Tracing, derived_trace_id, traceparent, valid
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


def origin(trace: str = "", id_: int = 7) -> Origin:
    event = Event(id=id_, user_id="alice", client_message_id="m", recipient_ids=["bob"])
    return Origin(
        id_,
        Place(5_000, 0),
        0,
        UserId("alice"),
        "m",
        (UserId("bob"),),
        event.SerializeToString(),
        event,
        trace,
    )


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
    copy = Copy(7, 0, Place(5_000, 1), NOWHERE, (UserId("bob"),), record.event, record.trace)
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
    copies = [Copy(7, 0, Place(5_000, 1), NOWHERE, (UserId("bob"),), b"", ASKED)]
    with traces.appending(), traces.forwarding(1, copies):
        pass
    assert record.trace == ""


# -- what is traced when it is over


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing(exported: InMemorySpanExporter) -> AsyncIterator[Tracing]:
    made = Tracing(exporter=exported)
    yield made
    await made.close()


def made_by(tracing: Tracing, service: str, **keys: float) -> Tracer:
    made = tracing.tracer(service, "1")
    made.configure(parse({"trace.ratio": 0.0} | {f"trace.{k}": v for k, v in keys.items()}))
    return made


def rows(*ages_ms: int) -> list[MessageRow]:
    now_ms = time.time_ns() // 1_000_000
    shift = ids.PARTITION_BITS + ids.SEQUENCE_BITS
    numbers = [(now_ms - age_ms - ids.EPOCH_MS) << shift for age_ms in ages_ms]
    return [
        MessageRow(number, ChatId("d:alice~bob"), UserId("alice"), (UserId("bob"),), b"")
        for number in numbers
    ]


def ended(exported: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exported.get_finished_spans() if span.name == name]


async def test_what_is_late_in_the_history_is_in_the_trace_of_what_was_accepted_late(
    tracing: Tracing, exported: InMemorySpanExporter
) -> None:
    (row,) = rows(2_000)
    record = origin(id_=row.message_id)
    MessageTraces(made_by(tracing, "messaging"), 3)._trace_late(5, record, time.time_ns() // 10**6)
    with materializing(made_by(tracing, "materialize"), "sqlite", Rows("log", 3, [row])):
        pass
    await tracing.close()
    (accepted,) = ended(exported, "accept")
    (materialized,) = ended(exported, "process messages")
    assert accepted.context
    assert materialized.context
    assert accepted.context.trace_id == materialized.context.trace_id
    assert materialized.parent is None
    seen = materialized.attributes or {}
    assert seen[spans.MESSAGE_ID] == str(row.message_id)
    assert 2_000 <= int(str(seen[spans.LATE])) < 60_000
    assert seen.keys() <= spans.MATERIALIZE.attributes


async def test_late_alone_is_traced_in_the_history_and_so_many_of_it(
    tracing: Tracing, exported: InMemorySpanExporter
) -> None:
    one = made_by(tracing, "materialize", slow_ms=60_000, forced_rate=5)
    batch = rows(*range(90_000, 80_000, -1_000), 1_000, 0)
    known = origin(ASKED, batch[1].message_id)
    with materializing(one, "sqlite", Rows("log", 0, batch, traced=[(8, known)])):
        pass
    with materializing(one, "sqlite", Rows("log", 0, rows(30_000, 0))):
        pass
    await tracing.close()
    found = ended(exported, "process messages")
    told = [str((span.attributes or {})[spans.MESSAGE_ID]) for span in found]
    late = [str(row.message_id) for row in batch[:10]]
    assert len(told) == len(set(told)) in (6, 7), "the one that was traced anyway, and 5 others"
    assert set(told) <= set(late)


async def test_a_trace_of_the_history_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"traceID": "1", "spans": []}

    def jaeger(request: httpx.Request) -> httpx.Response:
        has = request.url.params["service"] == "cecochat-materialize"
        return httpx.Response(200, json={"data": [late] if has else []})

    asking = partial(httpx.AsyncClient, transport=httpx.MockTransport(jaeger))
    monkeypatch.setattr(httpx, "AsyncClient", asking)
    assert await cli_trace._ask("http://there/", rows(0)[0].message_id) == late


async def test_a_batch_that_is_not_written_has_no_span_of_what_is_late(
    tracing: Tracing, exported: InMemorySpanExporter
) -> None:
    one = made_by(tracing, "materialize")
    with pytest.raises(ProducerEnded), materializing(one, "sqlite", Rows("log", 0, rows(9_000))):
        raise ProducerEnded
    await tracing.close()
    assert not ended(exported, "process messages")


def test_a_trace_that_is_found_by_what_it_is_of() -> None:
    assert derived_trace_id("a", 1, 2) == derived_trace_id("a", 1, 2)
    assert (
        len({derived_trace_id("a", 12), derived_trace_id("a", 1, 2), derived_trace_id("b", 12)})
        == 3
    )
    assert 0 < derived_trace_id("a", 12) < 1 << 128


async def test_a_document_that_a_person_changes_has_its_trace(
    tmp_path: Path,
    tracing: Tracing,
    exported: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CECOCHAT_OTLP_URL", "http://there")
    by_hand = InMemorySpanExporter()
    monkeypatch.setattr("cecochat.telemetry.tracing.Tracing", lambda _: Tracing(exporter=by_hand))
    async with build.configuration(Settings(data_dir=tmp_path)) as store:
        document = await cli_changes.change(store, CONFIGURATION, lambda _: {"log.level": "debug"})
        with changes.applying(tracing.tracer("history", "h"), store, document, new=True):
            pass
        with changes.applying(OFF, store, document, new=True):
            pass
    await tracing.close()
    found = [*by_hand.get_finished_spans(), *exported.get_finished_spans()]
    assert len({span.context.trace_id for span in found if span.context}) == 1
    names = [f"{word} {CONFIGURATION}" for word in ("change", "receive", "follow")]
    assert [span.name for span in found] == names
    for span in found:
        spec = next(each for each in spans.SPECS if each.name == span.name.partition(" ")[0])
        assert span.kind.name == spec.kind
        assert (span.attributes or {}).keys() == spec.attributes
    assert (found[0].start_time or 0) <= document.changed_at_ms * 10**6 + 10**6
    assert found[1].start_time == document.changed_at_ms * 10**6


async def test_a_document_that_is_not_applied_is_an_error_in_its_trace(
    tmp_path: Path, tracing: Tracing, exported: InMemorySpanExporter
) -> None:
    async with build.configuration(Settings(data_dir=tmp_path)) as store:
        document = await store.get(CONFIGURATION)
        one = tracing.tracer("history", "h")
        with pytest.raises(ProducerEnded), changes.applying(one, store, document, new=False):
            raise ProducerEnded
    await tracing.close()
    (only,) = exported.get_finished_spans()
    assert (only.name, only.status.is_ok) == (f"follow {CONFIGURATION}", False)


def test_every_attribute_has_a_meaning() -> None:
    used = set().union(*(spec.attributes for spec in spans.SPECS))
    assert used == set(spans.ATTRIBUTES)
    assert len({spec.name for spec in spans.SPECS}) == len(spans.SPECS)


def test_spans_are_begun_where_their_specification_is_asked_for() -> None:
    """What is not begun there would be in no list."""
    services = Path(spans.__file__).parents[1]
    begin = re.compile(r"\.(?:start_span|start_as_current_span)\((?!\w+\.name\b)")
    wrong = [path for path in services.rglob("*.py") if begin.search(path.read_text())]
    assert wrong == [services / "telemetry" / "tracing.py"]  # `Tracer.start`


# -- where to


def test_what_is_no_url_is_told_at_the_start() -> None:
    with pytest.raises(InvalidSettings, match=r"use a URL such as http://host:4318"):
        Tracing("127.0.0.1:4318")


def test_the_context_of_no_span_is_empty() -> None:
    assert traceparent(INVALID_SPAN) == ""


# -- what was written


def session(told: list[bool]) -> Session:
    made = Session("s", UserId("alice"), queue_max_bytes=100, wake=lambda: None)
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
