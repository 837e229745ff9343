"""Every server in one process and one event loop, on the embedded adapters: what `cecochat up`
runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cecochat.adapters import build
from cecochat.connect.main import connect
from cecochat.history.main import history
from cecochat.materialize.main import materialize
from cecochat.messaging.main import messaging
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import Instance
from cecochat.runtime.parts import Parts, new_instance_id
from cecochat.runtime.settings import Settings
from cecochat.runtime.tokens import Verifier, development_secret

SECOND_SIGNAL_EXIT = 130


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started system is."""

    connect: str  # URL
    messaging: str  # host:port
    history: str  # host:port
    health: dict[str, str]  # server -> URL
    data: str
    pid: int
    token_secret_file: str | None  # None: tokens are verified with a JWKS file
    started_in_s: float

    def as_json(self) -> dict[str, Any]:
        """As `up --json` prints it."""
        return asdict(self)


async def run(settings: Settings, on_ready: Callable[[Addresses], None]) -> None:
    """Start, say where, and serve until SIGINT or SIGTERM; a second one exits at once."""
    stop = asyncio.Event()
    _on_signals(stop)
    try:
        async with started(settings) as addresses:
            _tune_the_interpreter()
            on_ready(addresses)
            await stop.wait()
    except BaseExceptionGroup as group:
        raise _reason(group) from None


def _tune_the_interpreter() -> None:
    """What a start leaves behind stays, and of the rest little is cyclic: collecting it seldom
    saves a tenth of the CPU. The writers of the databases get their turn within 2 ms, which a busy
    event loop would else keep from them for 5 ms at every step.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.002)


def _reason(error: BaseException) -> BaseException:
    """What went wrong first, out of the task groups of the servers that were up already."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _on_signals(stop: asyncio.Event) -> None:
    def handle() -> None:
        if stop.is_set():
            os._exit(SECOND_SIGNAL_EXIT)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, handle)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Addresses]:
    """The running system; leaving the context stops it in order. Raises `InvalidSettings`."""
    begun_s = time.monotonic()
    secret_file = None if settings.jwks_file else settings.data_dir / "token-secret"
    async with AsyncExitStack() as stack:
        parts = await _open(settings, stack, secret_file)
        messaging_id = new_instance_id("messaging")
        await _assign_everything(parts, messaging_id)
        servers: list[Instance] = [
            await stack.enter_async_context(materialize(parts, new_instance_id("materialize"))),
            await stack.enter_async_context(history(parts, new_instance_id("history"))),
            await stack.enter_async_context(messaging(parts, messaging_id)),
            await stack.enter_async_context(connect(parts, new_instance_id("connect"))),
        ]
        yield _addresses(settings, servers, secret_file, time.monotonic() - begun_s)


async def _open(settings: Settings, stack: AsyncExitStack, secret_file: Path | None) -> Parts:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    chosen = build.AdapterSettings(
        settings.data_dir, settings.partitions, settings.retention_ms, settings.retention_bytes
    )
    return Parts(
        settings=settings,
        backplane=await stack.enter_async_context(build.backplane(chosen)),
        history=await stack.enter_async_context(build.history(chosen)),
        configuration=await stack.enter_async_context(build.configuration(chosen)),
        discovery=await stack.enter_async_context(build.discovery()),
        verifier=Verifier(
            secret=development_secret(secret_file) if secret_file else None,
            jwks_file=settings.jwks_file,
        ),
    )


async def _assign_everything(parts: Parts, messaging_id: str) -> None:
    """With one messaging server there is nothing to balance: it gets every partition."""
    count = await parts.backplane.partition_count()
    assignment = {str(partition): messaging_id for partition in range(count)}
    await parts.configuration.change(ASSIGNMENT, lambda _: assignment, by="up")


def _addresses(
    settings: Settings, servers: list[Instance], secret_file: Path | None, took_s: float
) -> Addresses:
    by_service = {server.service: server for server in servers}
    return Addresses(
        connect=by_service["connect"].health_url,
        messaging=by_service["messaging"].address,
        history=by_service["history"].address,
        health={server.service: server.health_url for server in servers},
        data=str(settings.data_dir),
        pid=os.getpid(),
        token_secret_file=str(secret_file) if secret_file else None,
        started_in_s=round(took_s, 3),
    )
