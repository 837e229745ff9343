"""The driver's connections on the event loop that waits for their answers, without a thread in
between.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from cassandra.connection import Connection, ConnectionShutdown
from typing_extensions import override

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def connections_on(loop: asyncio.AbstractEventLoop) -> type[LoopConnection]:
    """Return a connection class for `Cluster(connection_class=...)`, to be used from the loop's
    thread.
    """

    class Bound(LoopConnection):
        _loop = loop
        _thread = threading.get_ident()

    return Bound


class LoopConnection(Connection):  # type: ignore[misc]
    """A connection. The driver makes it in a thread, which connects and waits; from then on the
    event loop serves it.
    """

    _loop: ClassVar[asyncio.AbstractEventLoop]
    _thread: ClassVar[int]
    holders: ClassVar[Callable[[], list[Any]]] = list
    """Returns the pools of the cluster, once there are some, and its control connection."""
    is_closed: bool
    in_buffer_size = 1 << 16

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Connection.__init__(self, *args, **kwargs)
        self._unsent: list[bytes] = []
        self._flushing = False
        self._connect_socket()
        self._socket.setblocking(False)
        self.on_loop(self._watch)
        self._send_options_message()

    @classmethod
    @override
    def initialize_reactor(cls) -> None:
        """Do nothing, since the loop is running."""

    @classmethod
    @override
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> _Timer:
        return _Timer(cls, timeout, callback)

    @override
    def push(self, data: bytes) -> None:
        self.on_loop(self._send_soon, data)

    @override
    def close(self) -> None:
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"connection to {self.endpoint} closed"))
            self.connected_event.set()
        self.on_loop(self._close)

    @classmethod
    def on_loop(cls, call: Callable[..., object], *args: Any) -> None:
        """Call `call` in the loop's thread: at once if this is that thread."""
        if threading.get_ident() == cls._thread:
            call(*args)
        elif not cls._loop.is_closed():
            cls._loop.call_soon_threadsafe(call, *args)

    def _watch(self) -> None:
        if not self.is_closed:
            self._loop.add_reader(self._socket.fileno(), self._receive)

    def _send_soon(self, data: bytes) -> None:
        """Send data at the end of this turn of the loop, in one write with all other data."""
        self._unsent.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.is_closed:
            return
        data = b"".join(self._unsent)
        try:
            sent = self._socket.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        self._unsent = [data[sent:]] if sent < len(data) else []
        if self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._flush)
        else:
            self._flushing = False
            self._loop.remove_writer(self._socket.fileno())

    def _receive(self) -> None:
        if self.is_closed:
            return
        try:
            data = self._socket.recv(self.in_buffer_size)
            while data:
                self._iobuf.write(data)
                if len(data) < self.in_buffer_size:
                    break
                data = self._socket.recv(self.in_buffer_size)
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self._lost(error)
            return
        else:
            if not data:
                self._lost(ConnectionShutdown(f"{self.endpoint} closed the connection"))
                return
        if self._iobuf.tell():
            self.process_io_buffer()

    def _lost(self, error: Exception) -> None:
        """Tell the pool now that this connection is lost. Otherwise it would choose it for the next
        request, and block the loop for 2 s while it waits for another.
        """
        self.defunct(error)
        for holder in type(self).holders():
            if self in holder.get_connections():
                holder.return_connection(self)

    def _close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()


class _Timer:
    """Calls `callback` on the loop, unless it is cancelled before."""

    def __init__(
        self, connection: type[LoopConnection], timeout_s: float, callback: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._callback = callback
        self._cancelled = False
        self._handle: asyncio.TimerHandle | None = None
        connection.on_loop(self._start, timeout_s)

    def cancel(self) -> None:
        """Cancel the timer. Any thread may call this."""
        self._cancelled = True
        self._connection.on_loop(self._stop)

    def _start(self, timeout_s: float) -> None:
        if not self._cancelled:
            self._handle = self._connection._loop.call_later(timeout_s, self._callback)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
