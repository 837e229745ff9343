"""A device of the simulator that notes what it goes through, as the steps of a case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from typing_extensions import override

from cecochat.domain.device.device import Happening, Received, Sent
from cecochat.v1.errors_pb2 import Error
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send, ServerItem
from tests.conformance.case import Step
from tests.conformance.gapped import Filled, hole_of
from tests.sim.client import Client

if TYPE_CHECKING:
    from tests.sim.world import World

ITEMS_MAX = 8  # of a step, so that people can read it
AGAIN = {"comesBack": "yes"}


class Recorded(Client):
    """A client of the simulator. Its `steps` are of no use if it is not `usable`: if it did what a
    case cannot say.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.steps: list[Step] = []
        self.usable = True
        self._filled: Filled | None = None
        self._silent = False  # while the end of a stream is noted otherwise, or not at all

    def _begin(self, step: Step) -> Step:
        self.steps.append(step)
        return step

    def _add(self, key: str, what: Any) -> None:
        self.steps[-1].setdefault(key, []).append(what)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        before, self._silent = self._silent, True
        yield
        self._silent = before

    # -- what it does

    @override
    def connect(self, node: int) -> None:
        super().connect(node)
        assert self.connection is not None
        hello = self.connection.to_server[-1].hello
        said = {key: value for key, value in as_dict(hello).items() if key != "device"}
        self._begin({"connect": {}, "hello": said})

    @override
    def cut(self) -> None:
        if self._filled:
            self._fail()
        elif not self._silent:
            self._begin({"cut": True, "ends": AGAIN})
        super().cut()

    @override
    def send(self, chat: str, number: int, body: Send) -> None:
        self.usable &= self._filled is None  # a step is over before the next one
        send = {"clientMessageId": str(number), "chatId": chat, "message": {"text": "."}}
        if read := self.read.get(chat, 0):
            send["seenId"] = str(read)
        self._begin({"submit": [send]})
        super().send(chat, number, body)

    @override
    def flush(self) -> None:
        connection = self.connection
        written = len(connection.to_server) if connection else 0
        super().flush()
        for frame in list(connection.to_server)[written:] if connection else []:
            for send in frame.sends:
                self._add("sends", as_dict(send))
            self.steps[-1]["offset"] = str(frame.offset)

    @override
    def reload(self) -> None:
        if self._filled:
            self._fail()
        with self._silently():
            super().reload()
        self._begin({"restart": True, "stores": self.stores()})

    def stores(self) -> dict[str, Any]:
        """Return what is kept of the device."""
        kept = self.device.snapshot()
        unanswered = [each["clientMessageId"] for each in kept["outbox"]]
        shown = {chat: marks for chat, marks in kept["shown"].items() if marks}
        return {"position": kept["position"], "unanswered": unanswered, "shown": shown}

    # -- what it is told

    @override
    def receive(self, item: ServerItem) -> None:
        step = self._step_for(item)
        step["server"].append(as_dict(item))
        caught_up = self.device.caught_up
        with self._silently():
            super().receive(item)
        if self.device.caught_up > caught_up:
            step["caughtUp"] = True
        if self.device.gap:
            self._filled = Filled(self.device.gap.token)
        if item.HasField("disconnect"):
            step["ends"] = self._ends(item.disconnect.error)

    def _step_for(self, item: ServerItem) -> Step:
        """Return the last step, if this item can be one of it."""
        last = self.steps[-1]
        full = len(last.get("server", ())) >= ITEMS_MAX
        if "server" in last and not full and last.keys() <= {"server", "shows", "sent"}:
            return last
        return self._begin({"server": []})

    @override
    def rejected(self) -> None:
        refused = self.steps[-1]["server"][-1]["refused"]
        code = refused["error"]["code"]
        self._add("rejected", {"clientMessageId": refused["clientMessageId"], "code": code})
        self.steps[-1]["ends"] = AGAIN
        super().rejected()

    def _ends(self, error: Error) -> dict[str, str]:
        self.usable &= error.retriable
        waits = {"waitsAtLeastMs": str(error.retry_after_ms)} if error.retry_after_ms else {}
        return AGAIN | waits

    @override
    def surface(self, happening: Happening | None) -> None:
        super().surface(happening)
        match happening:
            case Received(event):
                self._add("shows", shown(event))
            case Sent(send, message_id):
                id_ = send.client_message_id
                self._add("sent", {"clientMessageId": id_, "messageId": str(message_id)})

    # -- gaps

    @override
    def fill(self) -> None:
        assert self._filled is not None
        history = self.world.history
        with (
            patch.object(history, "chats", self._filled.overhear_chats(self.device, history)),
            patch.object(history, "page", self._filled.overhear_page(history.page)),
        ):
            super().fill()
        if not self.device.gap:
            self._close(self._filled.queries)

    @override
    def misses(self, event: Event) -> Happening | None:
        self._add("shows", {"hole": hole_of(event, named=False)})
        return super().misses(event)

    def _fail(self) -> None:
        """The history fails, since the stream, or the device, does not wait for the rest of it."""
        assert self._filled is not None
        error = {"code": "ERROR_CODE_UNAVAILABLE", "message": "not now", "retriable": True}
        self.steps[-1]["ends"] = AGAIN
        self._close([*self._filled.queries, self._filled.following() | {"error": error}])

    def _close(self, queries: list[dict[str, Any]]) -> None:
        assert self._filled is not None
        self.usable &= self._filled.usable
        self.steps[-1]["queries"] = queries
        self._filled = None


def as_dict(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(message)
    return found


def shown(event: Event) -> dict[str, str]:
    """Return what a person sees of a message."""
    return {
        "id": str(event.id),
        "chatId": event.chat_id,
        "userId": event.user_id,
        "clientMessageId": event.client_message_id,
    }
