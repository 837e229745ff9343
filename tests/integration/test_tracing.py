"""The spans of a message on the embedded system: which there are, and how they hang together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typing_extensions import override

from cecochat.client import Client, Message, connect
from cecochat.documents import changes
from cecochat.ports.configuration import CONFIGURATION
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Tracing, traceparent
from tests.integration.clients import next_of
from tests.integration.systems import QUICK, Running, running, until_metric
from tests.support.eventually import eventually

PARTITIONS = 60


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def up(
    tmp_path: Path, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.setattr("cecochat.run.system.Tracing", lambda _: Tracing(exporter=exported))
    monkeypatch.setattr("cecochat.telemetry.exporting.EXPORT_EVERY_MS", 50)
    async with running(tmp_path / "data", partitions=PARTITIONS) as started:
        keys = {"trace.ratio": 0.0, "trace.slow_ms": 1e6}
        document = await started.configure({**QUICK, **keys})
        for server in ("messaging", "history", "connect"):
            await until_metric(started, server, "cecochat_configuration_version", document.version)
        yield started


def of(exported: InMemorySpanExporter, trace_id: int) -> list[ReadableSpan]:
    return [
        span
        for span in exported.get_finished_spans()
        if span.context and span.context.trace_id == trace_id
    ]


def name(span: ReadableSpan) -> str:
    kind = (span.attributes or {}).get(spans.RECORD)
    return f"{span.name} ({kind})" if kind else span.name


def tree(found: Sequence[ReadableSpan]) -> list[tuple[str, str]]:
    """(parent, child), sorted."""
    names = {span.context.span_id: name(span) for span in found if span.context}
    pairs = [(names[s.parent.span_id] if s.parent else "", name(s)) for s in found]
    return sorted(pairs)


@pytest.fixture
def application() -> TracerProvider:
    """What an application that uses OpenTelemetry has set up."""
    return TracerProvider()


async def test_a_message_has_one_trace_from_the_client_to_the_history(
    up: Running, exported: InMemorySpanExporter, application: TracerProvider
) -> None:
    application.add_span_processor(SimpleSpanProcessor(exported))
    trace._TRACER_PROVIDER = application  # as `set_tracer_provider`, which can be used once
    try:
        async with (
            connect(up.addresses.connect, up.token("alice")) as alice,
            connect(up.addresses.connect, up.token("bob")) as bob,
        ):
            with application.get_tracer("app").start_as_current_span("order") as order:
                sent = await alice.send("bob", "hello")
            await next_of(bob, Message)
            trace_id = order.get_span_context().trace_id
            with suppress(AssertionError):  # what is missing is told below
                await eventually(lambda: len(of(exported, trace_id)) >= 9, within_s=60)
    finally:
        trace._TRACER_PROVIDER = None
    found = of(exported, trace_id)
    assert tree(found) == [
        ("", "order"),
        ("accept", "send messages (origin)"),
        ("order", "send"),
        ("process messages", "INSERT messages"),
        ("send", "accept"),
        ("send messages (copy)", "deliver"),
        ("send messages (origin)", "deliver"),
        ("send messages (origin)", "process messages"),
        ("send messages (origin)", "send messages (copy)"),
    ]
    ids = {(span.attributes or {}).get(spans.MESSAGE_ID) for span in found}
    assert ids == {str(sent), None}
    _in_order(found)
    _as_specified(found)


def _in_order(found: Sequence[ReadableSpan]) -> None:
    by_id = {span.context.span_id: span for span in found if span.context}
    for span in found:
        begun, ended = span.start_time or 0, span.end_time or 0
        assert 0 < begun <= ended
        if span.parent and span.name != "process messages":  # its batch was read at one time
            above = by_id[span.parent.span_id].start_time or 0
            assert above <= begun, f"{span.name} began before what it is below"


def _as_specified(found: Sequence[ReadableSpan]) -> None:
    specs = {spec.name: spec for spec in spans.SPECS}
    for span in found:
        if span.name != "order":
            spec = specs[span.name]
            assert span.kind.name == spec.kind
            assert (span.attributes or {}).keys() <= spec.attributes
            service = span.resource.attributes["service.name"]
            assert service == f"cecochat-{spec.service}" or spec.service == "client"


async def test_a_change_of_the_configuration_has_one_trace_over_all_servers(
    up: Running, exported: InMemorySpanExporter
) -> None:
    document = await up.configure({**QUICK, "sends.burst": 7})
    trace_id = changes._trace_of(document)
    servers = len(up.addresses.health)
    with suppress(AssertionError):
        await eventually(lambda: len(of(exported, trace_id)) >= 2 * servers, within_s=60)
    found = of(exported, trace_id)
    received, followed = f"receive {CONFIGURATION}", f"follow {CONFIGURATION}"
    assert tree(found) == [("", received)] * servers + [(received, followed)] * servers
    versions = {(span.attributes or {})[spans.VERSION] for span in found}
    assert versions == {document.version}
    begun = {span.start_time for span in found if span.name == received}
    assert begun == {document.changed_at_ms * 1_000_000}


async def test_queries_and_lookups_join_the_trace_of_who_asks(
    up: Running, exported: InMemorySpanExporter, application: TracerProvider
) -> None:
    asking = application.get_tracer("app").start_span("ask")
    context = traceparent(asking)
    token = up.token("alice")
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {token}", "traceparent": context}
        await client.get(f"{up.addresses.connect}/v1/connect", headers=headers)
    async with grpc.aio.insecure_channel(up.addresses.history) as channel:
        call: Any = channel.unary_unary("/cecochat.v1.History/GetMessages")
        metadata = (("authorization", f"Bearer {token}"), ("traceparent", context))
        await call(b"\x0a\x0bd:alice~bob", metadata=metadata)
    trace_id = asking.get_span_context().trace_id
    with suppress(AssertionError):
        await eventually(lambda: len(of(exported, trace_id)) >= 3, within_s=60)
    found = of(exported, trace_id)
    above = {span.context.span_id: span.name for span in found if span.context}
    pairs = [(above.get(s.parent.span_id, "ask") if s.parent else "", s.name) for s in found]
    query = "cecochat.v1.History/GetMessages"
    assert sorted(pairs) == [
        ("ask", "GET /v1/connect"),
        ("ask", query),
        (query, "SELECT messages"),
    ]


async def test_the_ratio_is_followed_while_running_and_what_is_slow_is_kept(
    up: Running, exported: InMemorySpanExporter
) -> None:
    def accepted() -> list[ReadableSpan]:
        return [span for span in exported.get_finished_spans() if span.name == "accept"]

    async with connect(up.addresses.connect, up.token("alice")) as alice:
        untraced = {await alice.send("bob", "not traced") for _ in range(20)}
        await up.configure({**QUICK, "trace.ratio": 1.0, "trace.slow_ms": 1e6})
        await eventually(lambda: _traced(alice, accepted))
        ids = {str((span.attributes or {})[spans.MESSAGE_ID]) for span in accepted()}
        assert not ids & set(map(str, untraced)), "traced at a ratio of 0"
        await up.configure({**QUICK, "trace.ratio": 0.0, "trace.slow_ms": 1.0})
        await eventually(lambda: _late(alice, accepted))


async def _traced(alice: object, accepted: object) -> bool:
    await alice.send("bob", "traced by chance")  # type: ignore[attr-defined]
    await asyncio.sleep(0.2)
    return bool(accepted())  # type: ignore[operator]


async def _late(alice: object, accepted: object) -> bool:
    await asyncio.gather(*(alice.send("bob", "slow") for _ in range(50)))  # type: ignore[attr-defined]
    await asyncio.sleep(0.2)
    return any(spans.LATE in (span.attributes or {}) for span in accepted())  # type: ignore[operator]


class _Collector(SpanExporter):
    """One that answers when it may, and then as it says."""

    def __init__(self, takes: SpanExportResult) -> None:
        self.may_answer = threading.Event()
        self._takes = takes

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_answer.wait()
        return self._takes


@asynccontextmanager
async def traced_to(
    collector: SpanExporter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Tracing, Client]]:
    monkeypatch.setattr("cecochat.telemetry.exporting.EXPORT_EVERY_MS", 50)
    tracing = Tracing(exporter=collector)
    monkeypatch.setattr("cecochat.run.system.Tracing", lambda _: tracing)
    async with running(folder, partitions=1) as up:
        await up.configure({**QUICK, "trace.ratio": 1.0})
        async with connect(up.addresses.connect, up.token("alice")) as alice:
            yield tracing, alice


async def test_a_collector_that_refuses_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = _Collector(SpanExportResult.FAILURE)
    collector.may_answer.set()
    async with traced_to(collector, tmp_path, monkeypatch) as (tracing, alice):

        async def counted() -> bool:
            await alice.send("bob", "more")
            return tracing.counts["failed"] > 0

        await eventually(counted)


async def test_a_collector_that_hangs_holds_up_nobody_and_takes_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.telemetry.exporting.QUEUE_MAX", 100)
    monkeypatch.setattr("cecochat.telemetry.exporting.BATCH_MAX", 10)
    monkeypatch.setattr("cecochat.telemetry.exporting.FLUSH_S", 0.1)
    collector = _Collector(SpanExportResult.SUCCESS)
    async with traced_to(collector, tmp_path, monkeypatch) as (tracing, alice):

        async def many() -> bool:
            await asyncio.gather(*(alice.send("bob", "it goes on") for _ in range(20)))
            return tracing.counts["ended"] > 500

        await eventually(many)
    assert tracing.counts["exported"] == 0
    collector.may_answer.set()
    await eventually(lambda: tracing.counts["exported"] > 0)
    await asyncio.sleep(0.2)
    assert tracing.counts["exported"] <= 100 + 10, "more was kept than may wait"
