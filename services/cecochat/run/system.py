"""What a process runs: every server in one event loop (`cecochat up`), or one of a cluster
(`cecochat serve`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cecochat.adapters import build
from cecochat.auth import certificates, jwks_url
from cecochat.auth.operators import Operators, cluster_secret
from cecochat.auth.tokens import Verifier
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import FOR_CLIENTS, Instance, Service
from cecochat.run.turn import taking_turns
from cecochat.runtime.parts import Parts, new_instance_id
from cecochat.servers.connect.main import connect
from cecochat.servers.control.main import control
from cecochat.servers.history.main import history
from cecochat.servers.materialize.main import materialize
from cecochat.servers.messaging.main import messaging
from cecochat.settings import backends, private
from cecochat.settings.loopback import EVERYWHERE, is_loopback
from cecochat.settings.settings import PREFIX, Settings
from cecochat.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

SECOND_SIGNAL_EXIT = 130
BACKEND_RETRY_S = 1.0

WITH_HISTORY: tuple[Service, ...] = ("materialize", "history")
SERVERS: dict[Service, Callable[[Parts, str], AbstractAsyncContextManager[Instance]]] = {
    "messaging": messaging,
    "materialize": materialize,
    "history": history,
    "connect": connect,
    "control": control,
}

Started = TypeVar("Started")
Port = TypeVar("Port")


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
    cluster_secret_file: str
    started_in_s: float
    processes: dict[str, int]  # server -> pid, of one a server

    @classmethod
    def of(
        cls, settings: Settings, servers: dict[str, Instance], took_s: float, pids: dict[str, int]
    ) -> Addresses:
        """`servers`: by name, the first of each kind before others."""
        first = {server.service: server for server in reversed(servers.values())}
        return cls(
            connect=settings.connect_url(first["connect"].address),
            messaging=first["messaging"].address,
            history=first["history"].address,
            health={name: server.health_url for name, server in servers.items()},
            data=str(settings.data_dir),
            pid=os.getpid(),
            token_secret_file=str(settings.secret_file) if settings.secret_file else None,
            cluster_secret_file=str(settings.cluster_secret),
            started_in_s=round(took_s, 3),
            processes=pids,
        )

    def as_json(self) -> dict[str, Any]:
        """As `up --json` prints it."""
        return asdict(self)


def _allow_open_files() -> None:
    """Each connection is one: as many as the system allows, not as many as it starts with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says unlimited, and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("at most %s open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


async def run(
    context: AbstractAsyncContextManager[Started],
    on_ready: Callable[[Started], None],
    *,
    attached: bool = False,
) -> None:
    """Start, say where, and serve until SIGINT or SIGTERM, or, `attached`, until standard input
    ends; a second signal exits at once.
    """
    stop = asyncio.Event()
    starting = asyncio.current_task()

    def end() -> None:
        if stop.is_set():
            os._exit(SECOND_SIGNAL_EXIT)
        stop.set()
        if starting:
            starting.cancel()

    _on_the_end(end, attached)
    _allow_open_files()
    try:
        async with context as known:
            starting = None
            _tune_the_interpreter()
            on_ready(known)
            await stop.wait()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    except BaseExceptionGroup as group:
        raise _reason(group) from None


def _on_the_end(end: Callable[[], None], attached: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    if attached:

        def read() -> None:
            if not os.read(sys.stdin.fileno(), 1_024):
                loop.remove_reader(sys.stdin.fileno())
                end()

        loop.add_reader(sys.stdin.fileno(), read)


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


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Addresses]:
    """The running system; leaving the context stops it in order. Raises `InvalidSettings`."""
    begun_s = time.monotonic()
    warn_if_exposed(settings)
    async with opened(settings) as parts, AsyncExitStack() as stack:
        messaging_id = new_instance_id("messaging")
        await _assign_everything(parts, messaging_id)
        servers: list[Instance] = [
            await stack.enter_async_context(materialize(parts, new_instance_id("materialize"))),
            await stack.enter_async_context(history(parts, new_instance_id("history"))),
            await stack.enter_async_context(messaging(parts, messaging_id)),
            await stack.enter_async_context(connect(parts, new_instance_id("connect"))),
        ]
        known: dict[str, Instance] = {server.service: server for server in servers}
        yield Addresses.of(settings, known, time.monotonic() - begun_s, {})


@asynccontextmanager
async def serving(
    settings: Settings, service: Service, instance_id: str
) -> AsyncIterator[Instance]:
    """One server of a cluster. Raises `InvalidSettings`."""
    if missing := backends.not_shared(settings):
        raise InvalidSettings(
            "a server alone needs backends that others share with it: set "
            f"{backends.to_share(missing)}"
        )
    if settings.public_host in EVERYWHERE:
        raise InvalidSettings(
            f"{settings.public_host} is no address that others can reach this server at: set "
            f"{PREFIX}ADVERTISE_HOST"
        )
    if service in FOR_CLIENTS:
        warn_if_exposed(settings)
    if not settings.stack:  # whose servers are all on this machine
        warn_if_alone(settings)
    async with (
        opened(settings, history=service in WITH_HISTORY, clients=service in FOR_CLIENTS) as parts,
        taking_turns(parts.discovery, service, instance_id) as turn,
        SERVERS[service](parts, instance_id) as known,
    ):
        yield known
        if not settings.stack:  # which stops them one by one, or all of them for good
            await turn.come()


def warn_if_exposed(settings: Settings) -> None:
    """Say so where clients can reach the servers themselves."""
    if not is_loopback(settings.host):
        log.warning(
            "clients reach %s without an edge, where 100 KB without a token can take 1 GB of "
            "memory: listen on 127.0.0.1 behind `cecochat edge`, or let a firewall admit the edge "
            "alone (docs/how-to/put-an-edge-in-front.md)",
            settings.host,
        )


def warn_if_alone(settings: Settings) -> None:
    """Say so where servers on other machines cannot ask this one, or would not be let in."""
    if not is_loopback(settings.internal_host):
        if settings.cluster_secret_file is None:
            log.warning(
                "servers on other machines let this one in by a secret that they share, and it has "
                "one of its own, %s: give all of them the same with %sCLUSTER_SECRET_FILE",
                settings.cluster_secret,
                PREFIX,
            )
    elif not is_loopback(settings.host):
        log.warning(
            "servers on other machines cannot ask this one how it is and what it owns, since it "
            "answers them on %s alone: set %sINTERNAL_HOST to an address of this machine that they "
            "reach and clients do not",
            settings.internal_host,
            PREFIX,
        )


@asynccontextmanager
async def opened(
    settings: Settings, *, history: bool = True, clients: bool = True
) -> AsyncIterator[Parts]:
    """The ports, on the adapters that the settings choose; backends that do not answer yet are
    waited for. `history`: whether that one too. `clients`: whether they come here with tokens.
    """
    private.check_files(settings)
    private.make_folder(settings.data_dir)
    private.protect(settings.data_dir)
    if settings.cluster_secret_file is None:
        private.drawn_secret(settings.cluster_secret)
    operators = Operators(cluster_secret(settings))
    async with AsyncExitStack() as stack:
        tracing = Tracing(settings.otlp_url)
        stack.push_async_callback(tracing.close)
        yield Parts(
            settings=settings,
            configuration=await _enter(stack, lambda: build.configuration(settings)),
            discovery=await _enter(stack, lambda: build.discovery(settings)),
            backplane=await _enter(stack, lambda: build.backplane(settings)),
            history=await _enter(stack, lambda: build.history(settings)) if history else None,
            certificate=await stack.enter_async_context(
                certificates.following(settings.tls if clients else None)
            ),
            internal=await stack.enter_async_context(certificates.following(settings.internal_tls)),
            verifier=await _verifier(stack, settings, needed=clients),
            operators=operators,
            tracing=tracing,
        )


async def _verifier(stack: AsyncExitStack, settings: Settings, *, needed: bool) -> Verifier:
    secret_file, url, oidc = settings.secret_file, settings.jwks_url, settings.oidc_issuer
    return Verifier(
        secret=private.drawn_secret(secret_file) if secret_file else None,
        jwks_file=settings.jwks_file,
        keys=await _enter(stack, lambda: jwks_url.following(url, oidc, needed=needed))
        if url or oidc
        else None,
        issuer=settings.token_issuer or oidc,
        audience=settings.token_audience,
    )


async def _enter(
    stack: AsyncExitStack, make: Callable[[], AbstractAsyncContextManager[Port]]
) -> Port:
    while True:
        try:
            return await stack.enter_async_context(make())
        except Unavailable as error:
            log.warning("waiting for a backend: %s", error)
            await asyncio.sleep(BACKEND_RETRY_S)


async def _assign_everything(parts: Parts, messaging_id: str) -> None:
    """With one messaging server there is nothing to balance: it gets every partition."""
    count = await parts.backplane.partition_count()
    assignment = {str(partition): messaging_id for partition in range(count)}
    await parts.configuration.change(ASSIGNMENT, lambda _: assignment, by="up")
