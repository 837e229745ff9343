"""Traces the sends of a command, as an application would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from cecochat.cli.errors import UsageError
from cecochat.cli.target import traces
from cecochat.telemetry.spans import COMMAND


@contextmanager
def tracing() -> Iterator[AbstractContextManager[object]]:
    """Yield a span for what is sent within it, exported to where the settings say.

    Raises `UsageError` if they do not say.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from cecochat.telemetry.exporting import over_http

    if not (otlp := traces("otlp_url")):
        raise UsageError("set CECOCHAT_OTLP_URL to where spans go, such as http://127.0.0.1:17318")
    provider = TracerProvider(resource=Resource({"service.name": "cecochat-client"}))
    provider.add_span_processor(BatchSpanProcessor(over_http(otlp)))
    trace.set_tracer_provider(provider)
    try:
        yield provider.get_tracer("cecochat").start_as_current_span(COMMAND.name)
    finally:
        provider.shutdown()  # sends what is left
