"""Changes a central document on behalf of a person."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cecochat.cli.target import traces

if TYPE_CHECKING:
    from cecochat.ports.configuration import Configuration, Document


async def change(
    configuration: Configuration,
    name: str,
    decide: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Document:
    """Call `Configuration.change` in the name of the logged-in user, and trace the change.

    Raises what `Configuration.change` and `decide` raise.
    """
    by, begun_ns = getpass.getuser(), time.time_ns()
    document = await configuration.change(name, decide, by=by)
    if otlp := traces("otlp_url"):
        from cecochat.documents.changes import changed
        from cecochat.telemetry.tracing import Tracing

        tracing = Tracing(otlp)
        changed(tracing.tracer("cli", by), configuration, document, begun_ns)
        await tracing.close()
    return document
