"""The event loop behind the synchronous client: one thread in each process, for all its clients.

The thread is a daemon, so it never keeps a process alive. At the end of the interpreter, clients
that are still open are closed first.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import uuid4

from cecochat.client.errors import Closed, TimedOut

log = logging.getLogger(__name__)

T = TypeVar("T")

END_S = 5.0  # how long the thread may take to end

AN_ACK = "an acknowledgement"
AN_ANSWER = "an answer"
SEND_AGAIN = "it may still be accepted; to send it again, use the client_message_id of this error"
LEFT_BEHIND = "this process was forked from the one that had connected: connect in this one, too"


class Background:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.at_end: dict[object, Callable[[], None]] = {}  # an open client -> what closes it
        self._thread = threading.Thread(target=self._run, name="cecochat-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @property
    def is_alive(self) -> bool:
        """Whether the loop answers. In a process that was forked, its parent's loop does not."""
        return self._thread.is_alive()

    def check_alive(self) -> None:
        """Raise `Closed` if the loop does not answer."""
        if not self.is_alive:
            raise Closed(LEFT_BEHIND)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin to do something. Raises `Closed`."""
        if not self.is_alive:
            work.close()
        self.check_alive()
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(
        self, work: Coroutine[Any, Any, T], timeout_s: float, what: str, sending: str = ""
    ) -> T:
        """Do something, and wait for it. `sending` is the client message id of what is sent. Raises
        `Closed`, `TimedOut`, and what the work raises.
        """
        doing = self.begin(work)
        try:
            return doing.result(timeout_s)
        except TimeoutError:
            if not doing.cancel():
                return doing.result(0)  # it was done just now
            mend = SEND_AGAIN if sending else "try again later"
            raise TimedOut(f"waited {timeout_s:g} s for {what}: {mend}", sending) from None
        except BaseException:
            doing.cancel()
            raise

    def do(
        self,
        send: Callable[..., Coroutine[Any, Any, T]],
        client_message_id: str | None,
        timeout_s: float,
    ) -> T:
        """Send something under that id or a new one, and wait for its acknowledgement. Raises as
        `wait`.
        """
        chosen = uuid4().hex if client_message_id is None else client_message_id
        return self.wait(send(client_message_id=chosen), timeout_s, AN_ACK, chosen)

    def end(self) -> None:
        """Close every client that is open, and stop the loop."""
        if not self.is_alive:
            return
        for close in tuple(self.at_end.values()):
            try:
                close()
            except Exception:  # one client's fault must not keep the others open
                log.exception("a client could not be closed")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_S)


_lock = threading.Lock()
_current: Background | None = None


def background() -> Background:
    """Return the event loop of this process. The first call starts it."""
    global _current
    with _lock:
        if _current is None:
            _current = Background()
            atexit.register(_current.end)
        return _current


def _begin_afresh() -> None:
    """Let a forked process start a loop of its own: no thread is forked but the calling one."""
    global _lock, _current
    _lock, _current = threading.Lock(), None


os.register_at_fork(after_in_child=_begin_afresh)
