"""Connects a client: looks up where its user is served, and opens the first session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from pathlib import Path
from random import random
from types import TracebackType
from typing import Any

from typing_extensions import override

from cecochat.client.arguments import (
    check_count,
    check_device,
    check_seconds,
    check_token,
    check_transport,
    check_url,
)
from cecochat.client.backoff import BackOff
from cecochat.client.client import Client
from cecochat.client.errors import ChatError, NotReachable
from cecochat.client.lookup import Lookup, Route, Token
from cecochat.client.options import Options, TransportName
from cecochat.client.queries import HistoryCalls
from cecochat.client.state import FileState, State, restored
from cecochat.client.transport.base import Transport
from cecochat.client.transport.grpc import GrpcTransport


def connect(
    connect_url: str,
    token: Token,
    *,
    state: State | Path | str | None = None,
    device: str = "python",
    listen: bool = True,
    receipts: bool = True,
    timeout_s: float | None = 10.0,
    buffer_max_bytes: int = 1 << 20,
    ca_file: Path | str | None = None,
    transport: TransportName = "grpc",
    invisible: bool = False,
) -> Connecting:
    """Connect a device of the user that `token` names, and keep it connected.

    Use it as `async with connect(...) as client:`. Or write `client = await connect(...)`, and
    `await client.close()` at the end.

    - `connect_url`: the connect server, such as `https://chat.example.com`.
    - `token`: a token, or an async function that returns one. It is called for each connection and
      each query, and before a token expires. If it returns none, the client ends with
      `InvalidArgument`.
    - `state`: where the device's state is saved; a path names a file. With a state, a restarted
      process receives exactly what it missed, and sends again what was not acknowledged. An event
      that the application was handling when the process died comes again. Without a state, the
      client receives what happens from now on.
    - `device`: a label that people see, of at most 64 bytes.
    - `listen`: False if the application only sends and never iterates.
    - `receipts`: whether senders are told that a message was delivered. They are told once the
      application has handled it, which means: when it asks for the next event. In groups they are
      not told.
    - `timeout_s`: how long to look for a server, and then how long to wait for a session, in
      seconds, or None for ever.
    - `buffer_max_bytes`: how much may wait for the application. The rest is fetched again later.
    - `ca_file`: the authority that signs the servers' certificates. By default it is the file that
      SSL_CERT_FILE names, or else the system's authorities. With an `https://` URL, every
      connection is over TLS.
    - `transport`: `grpc`, or `websocket`, which needs the extra `cecochat[websocket]`. Both carry
      the same frames, and a state that was saved over one goes on over the other.
    - `invisible`: whether this device hides from everybody that its user is online.

    Raises `InvalidArgument`, `NotReachable`, `Refused` if a server does not accept the token,
    `StateUnusable`.
    """
    check_url(connect_url)
    check_token(token)
    check_device(device)
    check_count("buffer_max_bytes", buffer_max_bytes)
    if timeout_s is not None:
        check_seconds("timeout_s", timeout_s)
    check_transport(transport)
    options = Options(device, listen, receipts, timeout_s, buffer_max_bytes, transport, invisible)
    store = FileState(state) if isinstance(state, Path | str) else state
    return Connecting(connect_url, token, store, Path(ca_file) if ca_file else None, options)


class Connecting(AbstractAsyncContextManager[Client]):
    """What `connect` returns. Enter it with `async with`, or await it: both give a `Client`."""

    def __init__(
        self,
        connect_url: str,
        token: Token,
        state: State | None,
        ca_file: Path | None,
        options: Options,
    ) -> None:
        self._lookup_of = connect_url, token, ca_file
        self._state = state
        self._options = options
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    @override
    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._client, "what is left was entered before"
        if error is None:
            await self._client.close(handled=self._client._got_through)
        else:
            await self._client._abandon(error)

    async def _open(self) -> Client:
        async with AsyncExitStack() as resources:
            lookup = Lookup(*self._lookup_of)
            resources.push_async_callback(lookup.close)
            calls = HistoryCalls(lookup)
            resources.push_async_callback(calls.close)
            if self._state:
                resources.callback(self._state.close)
            route, token = await _first_route(lookup, self._options.timeout_s)
            device = restored(self._state, route.user_id)
            transport = transport_of(self._options.transport, lookup)
            client = Client(lookup, transport, calls, self._state, device, self._options)
            resources.push_async_callback(client._transfers.close)
            await client._open(resources, route, token)
            return client


def transport_of(name: TransportName, lookup: Lookup) -> Transport:
    """Return a transport by its name."""
    if name == "grpc":
        return GrpcTransport(lookup)
    from cecochat.client.transport.websocket import WebSocketTransport  # not everybody installs it

    return WebSocketTransport(lookup)


async def _first_route(lookup: Lookup, timeout_s: float | None) -> tuple[Route, str]:
    begun_s = time.monotonic()
    for attempt in count():
        left_s = None if timeout_s is None else begun_s + timeout_s - time.monotonic()
        try:
            async with asyncio.timeout(left_s) as within:
                return await lookup.find()
        except TimeoutError:
            if not within.expired():
                raise
            raise NotReachable(
                f"no server was found within {timeout_s} s: does the connect server answer, and "
                "the function that gives tokens?"
            ) from None
        except ChatError as error:
            wait_s = BackOff().wait_s(attempt, random(), error.retry_after_s)  # noqa: S311
            tried_s = time.monotonic() + wait_s - begun_s
            late = timeout_s is not None and tried_s > timeout_s
            if late or not error.retriable or (error.code == "token_expired"):
                raise
        await asyncio.sleep(wait_s)
    raise AssertionError("counted to the end")
