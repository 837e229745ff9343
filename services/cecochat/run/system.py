"""Runs every server in one event loop (`cecochat up`), or one of a cluster (`cecochat serve`)."""

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
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from cecochat.adapters import build
from cecochat.auth import certificates, jwks_url
from cecochat.auth.operators import Operators, cluster_secret, keys_secret
from cecochat.auth.tokens import Verifier
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import FOR_CLIENTS, Instance, Service
from cecochat.run.turn import taking_turns
from cecochat.runtime.parts import Parts, new_instance_id
from cecochat.sealing.keyring import KeyRing
from cecochat.servers.connect.main import connect
from cecochat.servers.control.main import control
from cecochat.servers.history.main import history
from cecochat.servers.hooks.main import hooks
from cecochat.servers.materialize.main import materialize
from cecochat.servers.messaging.main import messaging
from cecochat.settings import backends, development, private
from cecochat.settings.hosts import EVERYWHERE, check_own, is_loopback
from cecochat.settings.settings import PREFIX, Settings
from cecochat.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

SECOND_SIGNAL_EXIT = 130
BACKEND_RETRY_S = 1.0

WITH_HISTORY: tuple[Service, ...] = ("materialize", "history")
WITH_KEYS: tuple[Service, ...] = ("messaging", "history", "hooks")
WITH_KEYS_FOR_SEARCH: tuple[Service, ...] = ("materialize",)  # which indexes plain texts
WITH_FILES: tuple[Service, ...] = ("connect", "materialize")
WITH_MODERATION: tuple[Service, ...] = ("messaging", "history")
SERVERS: dict[Service, Callable[[Parts, str], AbstractAsyncContextManager[Instance]]] = {
    "messaging": messaging,
    "materialize": materialize,
    "history": history,
    "connect": connect,
    "control": control,
    "hooks": hooks,
}

Started = TypeVar("Started")
Port = TypeVar("Port")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a system that has started."""

    page: str  # URL of the chat page; empty if there is none
    connect: str  # URL
    messaging: str  # host:port
    websocket: str  # URL
    history: str  # host:port
    history_http: str  # URL
    health: dict[str, str]  # server -> URL
    data: str
    pid: int
    token_secret_file: str | None  # None if public keys verify tokens
    cluster_secret_file: str
    started_in_s: float
    processes: dict[str, int]  # server -> pid, with --processes

    @classmethod
    def of(
        cls, settings: Settings, servers: dict[str, Instance], took_s: float, pids: dict[str, int]
    ) -> Addresses:
        """Collect the addresses of `servers` by name, the first of each kind before the others."""
        first = {server.service: server for server in reversed(servers.values())}
        return cls(
            page=_page_url(settings, first["connect"]),
            connect=settings.http_url(first["connect"].address),
            messaging=first["messaging"].address,
            websocket=first["messaging"].web,
            history=first["history"].address,
            history_http=first["history"].web,
            health={name: server.health_url for name, server in servers.items()},
            data=str(settings.data_dir),
            pid=os.getpid(),
            token_secret_file=str(settings.secret_file) if settings.secret_file else None,
            cluster_secret_file=str(settings.cluster_secret),
            started_in_s=round(took_s, 3),
            processes=pids,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the object that `up --json` prints."""
        return asdict(self)


def _page_url(settings: Settings, connect: Instance) -> str:
    return settings.http_url(connect.address) if development.signs_tokens(settings) else ""


def _allow_open_files() -> None:
    """Raise the limit of open files, of which each connection is one, as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that it is unlimited, and then refuses
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("this process may open %s files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


async def run(
    context: AbstractAsyncContextManager[Started],
    on_ready: Callable[[Started], None],
    *,
    attached: bool = False,
) -> None:
    """Start, call `on_ready`, and serve until SIGINT or SIGTERM. A second signal exits at once.

    If `attached`, also stop when standard input ends.
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
        async with context as ready:
            starting = None
            _tune_the_interpreter()
            on_ready(ready)
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
    """Collect garbage seldom, and let threads run sooner.

    What the start has made stays, and little of the rest is cyclic, so collecting it seldom saves a
    tenth of the CPU. A busy event loop keeps the threads that write to databases waiting for up to
    2 ms at every step, instead of 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.002)


def _reason(error: BaseException) -> BaseException:
    """Return the first error in the nested groups that the servers' task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Addresses]:
    """Run the whole system. Leaving the block stops it in order. Raises `InvalidSettings`."""
    begun_s = time.monotonic()
    warn_if_exposed(settings)
    async with opened(settings) as parts, AsyncExitStack() as stack:
        parts = replace(parts, page_secret=_page_secret(settings))
        messaging_id = new_instance_id("messaging")
        await _assign_everything(parts, messaging_id)
        servers: list[Instance] = [
            await stack.enter_async_context(materialize(parts, new_instance_id("materialize"))),
            await stack.enter_async_context(history(parts, new_instance_id("history"))),
            await stack.enter_async_context(messaging(parts, messaging_id)),
            await stack.enter_async_context(connect(parts, new_instance_id("connect"))),
            await stack.enter_async_context(hooks(parts, new_instance_id("hooks"))),
        ]
        known: dict[str, Instance] = {server.service: server for server in servers}
        yield Addresses.of(settings, known, time.monotonic() - begun_s, {})


@asynccontextmanager
async def serving(
    settings: Settings, service: Service, instance_id: str
) -> AsyncIterator[Instance]:
    """Run one server of a cluster. Raises `InvalidSettings`."""
    if missing := backends.not_shared(settings):
        raise InvalidSettings(
            "a server of a cluster needs backends that all of its servers share: set "
            f"{backends.to_share(missing)}"
        )
    if settings.public_host in EVERYWHERE:
        raise InvalidSettings(
            f"others cannot reach this server at {settings.public_host}: set "
            f"{PREFIX}ADVERTISE_HOST to an address that they can reach"
        )
    if service in FOR_CLIENTS:
        warn_if_exposed(settings)
    if not settings.stack:  # the servers of a stack are all on this machine
        warn_if_alone(settings)
    async with (
        opened(
            settings,
            history=service in WITH_HISTORY,
            signals=service == "messaging",
            keys=service in WITH_KEYS
            or (service in WITH_KEYS_FOR_SEARCH and build.has_search(settings)),
            files=service in WITH_FILES,
            moderation=service in WITH_MODERATION,
            silences=service == "hooks",
            clients=service in FOR_CLIENTS,
        ) as parts,
        taking_turns(parts.discovery, service, instance_id) as turn,
        SERVERS[service](parts, instance_id) as server,
    ):
        yield server
        if not settings.stack:  # a stack stops its servers one by one, or all of them for good
            await turn.come()


def warn_if_exposed(settings: Settings) -> None:
    """Warn if clients can reach the servers without an edge."""
    if not is_loopback(settings.host):
        log.warning(
            "clients reach %s without an edge, and 100 KB from somebody without a token can take "
            "1 GB of memory there: listen on 127.0.0.1 behind `cecochat edge`, or let a firewall "
            "admit nobody but the edge (docs/how-to/put-an-edge-in-front.md)",
            settings.host,
        )


def warn_if_alone(settings: Settings) -> None:
    """Warn if servers on other machines cannot ask this one, or would be refused."""
    if not is_loopback(settings.internal_host):
        if settings.cluster_secret_file is None:
            log.warning(
                "servers on other machines will refuse this one, whose secret %s is its own: give "
                "all of them the same secret with %sCLUSTER_SECRET_FILE",
                settings.cluster_secret,
                PREFIX,
            )
    elif not is_loopback(settings.host):
        log.warning(
            "servers on other machines cannot ask this one how it is and what it owns, since its "
            "internal listener is on %s: set %sINTERNAL_HOST to an address of this machine that "
            "servers can reach and clients cannot",
            settings.internal_host,
            PREFIX,
        )


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    history: bool = True,
    signals: bool = True,
    keys: bool = True,
    files: bool = True,
    moderation: bool = True,
    silences: bool = True,
    clients: bool = True,
) -> AsyncIterator[Parts]:
    """Open the ports on the adapters that the settings choose.

    It waits for backends that do not answer yet. `history`, `signals`, `keys`, `files`,
    `moderation`, `silences`: whether to open those ports, too. `clients`: whether clients send
    tokens here. Raises `InvalidSettings`.
    """
    private.check_files(settings)
    for host in {settings.host, settings.internal_host}:
        check_own(host)
    private.make_usable(settings.data_dir)
    private.protect(settings.data_dir)
    if settings.cluster_secret_file is None:
        private.drawn_secret(settings.cluster_secret)
    operators = Operators(cluster_secret(settings))
    async with AsyncExitStack() as stack:
        tracing = Tracing(settings.otlp_url)
        stack.push_async_callback(tracing.close)
        parts = Parts(
            settings=settings,
            keys=await _enter(stack, lambda: keyring(settings)) if keys else None,
            moderation=await _enter(stack, lambda: build.moderation(settings))
            if moderation
            else None,
            configuration=await _enter(stack, lambda: build.configuration(settings)),
            discovery=await _enter(stack, lambda: build.discovery(settings)),
            backplane=await _enter(stack, lambda: build.backplane(settings)),
            signals=await _enter(stack, lambda: build.signals(settings)) if signals else None,
            silences=await _enter(stack, lambda: build.silences(settings)) if silences else None,
            history=await _enter(stack, lambda: build.history(settings)) if history else None,
            search=await _enter(stack, lambda: build.search(settings)) if history else None,
            files=await _enter(stack, lambda: build.files(settings)) if files else None,
            certificate=await stack.enter_async_context(
                certificates.following(settings.tls if clients else None)
            ),
            internal=await stack.enter_async_context(certificates.following(settings.internal_tls)),
            verifier=await _verifier(stack, settings, needed=clients),
            operators=operators,
            tracing=tracing,
        )
        if parts.keys:
            await parts.keys.begin()
        yield parts


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


@asynccontextmanager
async def keyring(settings: Settings) -> AsyncIterator[KeyRing]:
    """Open the keys of users. A new system begins to seal before it has a log, by which it would
    no longer be known. Raises `Unavailable`, `InvalidSettings`.
    """
    async with build.keys(settings) as keys:
        ring = KeyRing(keys, keys_secret(settings))
        if keys.is_new:
            await ring.start()
        yield ring


def _page_secret(settings: Settings) -> bytes | None:
    if settings.secret_file is None or not development.signs_tokens(settings):
        return None
    return private.drawn_secret(settings.secret_file)


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
    """Assign every partition to the one messaging server that there is."""
    count = await parts.backplane.partition_count()
    assignment = {str(partition): messaging_id for partition in range(count)}
    await parts.configuration.change(ASSIGNMENT, lambda _: assignment, by="up")
