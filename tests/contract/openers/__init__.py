"""How each adapter is opened, and opened again on what it has stored: as its folder declares it,
where the variable that chooses it says, or by a module here with its name and a function a port,
which can also tidy up.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from cecochat.settings import backends
from cecochat.settings.backends import Backend, Port
from cecochat.settings.settings import made, variable
from tests.support.backends import Backends

PARTITIONS = 4  # of every log that is opened
SECRET = b"a cluster secret of the tests, long enough"
OF_THEIR_OWN = {path.stem for path in Path(__file__).parent.glob("*.py")}


class Place(NamedTuple):
    """Where a test's data is: the same place is the same data."""

    folder: Path
    namespace: str  # of its own, on backends that are shared
    backends: Backends


def names(port: Port) -> list[str]:
    """The adapters that have this port."""
    return [each.name for each in backends.serving(port)]


def opener(name: str, port: Port) -> Callable[..., Awaitable[Any]]:
    """Opens a port of an adapter, given a `Place` and what closes it again."""
    if name in OF_THEIR_OWN:
        own: Callable[..., Awaitable[Any]] = getattr(
            import_module(f"tests.contract.openers.{name}"), port
        )
        return own
    (backend,) = (each for each in backends.found() if each.name == name)
    return partial(_as_declared, backend, port)


async def _as_declared(
    backend: Backend, port: Port, place: Place, stack: AsyncExitStack, **changes: Any
) -> Any:
    settings: dict[str, Any] = {
        "data_dir": place.folder / port,
        "namespace": place.namespace,
        "partitions": PARTITIONS,
    }
    if backend.chosen_by:
        said = os.environ.get(variable(backend.chosen_by))
        settings[backend.chosen_by] = said or place.backends.absent(backend.name)
    if "retention_ms" in changes:
        settings["retention_ms"] = changes.pop("retention_ms")
    return await stack.enter_async_context(backend.ports[port](made(**settings), **changes))
