"""A client of groups without any server: what it writes, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from google.protobuf.message import Message as Proto
from typing_extensions import override

from cecochat.client import (
    Event,
    GroupChange,
    Groups,
    Message,
    Rejected,
)
from cecochat.client.errors import refused
from cecochat.client.history import History
from cecochat.client.local import LocalDevice
from cecochat.client.lookup import Lookup
from cecochat.client.queries import Answer, HistoryCalls
from cecochat.client.sending import Sending
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import message_id
from cecochat.v1 import events_pb2
from cecochat.v1.errors_pb2 import ERROR_CODE_NOT_FOUND, Error
from cecochat.v1.events_pb2 import (
    ROLE_OWNER,
    Appointment,
    Membership,
)
from cecochat.v1.messaging_pb2 import (
    Ack,
    CaughtUp,
    Delivered,
    Limits,
    Position,
    Send,
    ServerItem,
    Welcome,
)

US = "g:us"
HERE, HOME = 3, 7  # the partitions of alice and of the group
OPTIONS = events_pb2.GroupOptions(name="Us", is_open=True)


class Sends(Sending):
    """The sends of a client that never ends."""

    @override
    def _check_open(self) -> None:
        pass


NO_GROUP = Error(code=ERROR_CODE_NOT_FOUND, message="no such group")


class Answering(HistoryCalls):
    """A history that answers one query after the other, or refuses it."""

    def __init__(self, *answers: Proto) -> None:
        super().__init__(Lookup("http://127.0.0.1:1", "token", None))
        self.answers = list(answers)
        self.asked: list[Any] = []

    @override
    async def call(self, name: str, request: Any, response: type[Answer]) -> Answer:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Error):
            raise refused(answer)
        return response.FromString(answer.SerializeToString())


class World:
    """Alice's device, caught up, and her groups."""

    def __init__(self, device: Device | None = None, *answers: Proto) -> None:
        self.local = LocalDevice(
            device or Device("alice"), listen=True, receipts=True, buffer_max_bytes=1 << 20
        )
        self.calls = Answering(*answers)
        self.groups = Groups(
            "alice",
            Sends(self.local)._queue,
            History("alice", self.calls),
            self.local,
        )
        self.local.hello("phone")
        position = Position(log_id="log", partition=HERE, offset=5, clock_ms=5)
        limits = Limits(sends_per_frame_max=9)
        self.local.receive(ServerItem(welcome=Welcome(position=position, limits=limits)))
        self.local.receive(ServerItem(caught_up=CaughtUp(offset=5, clock_ms=5)))

    async def asked(self, change: Coroutine[Any, Any, object]) -> Send:
        """What is written for a change; it is acknowledged then."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(change)
            self.local.to_write.clear()
            await self.local.to_write.wait()
            frame = self.local.next_frame()
            assert frame
            (send,) = frame.sends
            self.acknowledge(send)
        assert asking.result() in (message_id(9, HOME), send.chat_id)
        return send

    def acknowledge(self, send: Send) -> None:
        key, id_ = send.client_message_id, message_id(9, HOME)
        ack = Ack(client_message_id=key, message_id=id_, offset=6, clock_ms=6)
        ack.home_offset, ack.home_clock_ms = 40, 44
        self.local.receive(ServerItem(ack=ack))

    async def event(self) -> Event | None:
        """The next event, but for those of the connection."""
        while event := await self.local.next_event():
            if isinstance(event, Message | GroupChange | Rejected):
                return event
        return None


def event(number: int, user: str, **body: Any) -> events_pb2.Event:
    id_ = message_id(number << 10, HOME)
    return events_pb2.Event(id=id_, user_id=user, chat_id=US, client_message_id="c", **body)


def delivered(offset: int, event: events_pb2.Event) -> ServerItem:
    return ServerItem(delivered=Delivered(offset=offset, clock_ms=offset, event=event))


NEW = Membership(
    added_ids=["bob", "alice"],
    invited_ids=["dan"],
    appointments=[Appointment(user_id="bob", role=ROLE_OWNER)],
    options=OPTIONS,
)
