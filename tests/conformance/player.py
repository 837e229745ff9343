"""Plays a case against the Python client: all of it but the transports, the lookup over HTTP and
the waits between streams.
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from cecochat.client.client import Client
from cecochat.client.lookup import Lookup
from cecochat.client.options import Options
from cecochat.client.stream import Ended
from cecochat.client.transport.grpc import GrpcTransport
from cecochat.client.transport.websocket import closed_by
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import ChatId
from cecochat.v1.messaging_pb2 import Send, ServerFrame
from tests.conformance import outcome
from tests.conformance.case import EXPECTED, Case, Step, action_of
from tests.conformance.outcome import ADDRESS, Names, Outcome
from tests.conformance.scripted import ScriptedCall, ScriptedHistory, Stored

TURNS = 50  # of the loop: more than any step takes, as nothing waits for anything outside


class Player:
    """A client in the hands of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.token = outcome.TOKEN
        self.lookup = Lookup("http://connect.example", self._supply, None)
        self.history = ScriptedHistory(self.lookup)
        self.tasks = asyncio.TaskGroup()
        self.running: asyncio.Task[Ended] | None = None
        self.reading: asyncio.Task[None] | None = None
        self.names = Names()
        self.outcome = Outcome(self.names)
        self._begin(Device(case.user, device_id=case.device_id))
        self.call = ScriptedCall(self.stored)

    def _begin(self, device: Device) -> None:
        self.stored = Stored(device)
        transport = GrpcTransport(self.lookup)  # of which nothing is used
        options = Options("conformance kit", receipts=False, buffer_max_bytes=1 << 30)
        self.client = Client(self.lookup, transport, self.history, self.stored, device, options)
        self.local, self.stream = self.client._local, self.client._stream

    async def _supply(self) -> str:
        return self.token

    async def _read(self) -> None:
        """Take each event at once, as an application would that does nothing else."""
        while event := await self.local.next_event():
            self.outcome.told(event)

    # -- the actions of steps

    async def connect(self, _: Step) -> None:
        """Open a stream."""
        self.call = ScriptedCall(self.stored)
        running = self.stream.run(self.call.opened(), ADDRESS, "conformance kit")
        self.running = self.tasks.create_task(running)

    async def server(self, step: Step) -> None:
        """Let the server say something."""
        if any("tokenExpiring" in item for item in step["server"]):
            self.token = outcome.NEXT_TOKEN
        self.call.say(ParseDict({"items": step["server"]}, ServerFrame()))

    async def frame(self, step: Step) -> None:
        """Let the server say something that only later versions know."""
        self.call.say(ServerFrame.FromString(bytes.fromhex(step["frame"])))

    async def cut(self, _: Step) -> None:
        """End the stream without a word."""
        self.call.say(None)

    async def close(self, step: Step) -> None:
        """End the stream with no more than the close frame of a WebSocket."""
        self.call.say(closed_by(step["close"], ADDRESS))

    async def submit(self, step: Step) -> None:
        """Let the application send something."""
        for each in step["submit"]:
            send = repeated(ParseDict(each, Send()), step)
            self.names.given.add(send.client_message_id)
            if send.HasField("receipt"):
                self.local.progress.submit(send)
                self.local.to_write.set()
            else:
                await self._post(send)

    async def _post(self, send: Send) -> None:
        if send.seen_id:
            self.client._note_read(ChatId(send.chat_id), send.seen_id)
        id_ = send.client_message_id
        to, text = send.chat_id, send.message.text
        self._follow(id_, await self.client.post(to, text, client_message_id=id_ or None))

    def _follow(self, id_: str, answer: asyncio.Future[int]) -> None:
        """Note the answer to a send in the step in which it comes."""
        answer.add_done_callback(lambda answer: self.outcome.answered(id_, answer))

    async def restart(self, _: Step) -> None:
        """Kill the application, and start it again from what it has stored."""
        self._stop()
        self._begin(Device.restored(self.stored.load()))
        self.reading = self.tasks.create_task(self._read())

    def _stop(self) -> None:
        for task in (self.running, self.reading):
            if task:
                task.cancel()
        self.running = None

    # -- one step after the other

    async def play(self) -> None:
        """Play all steps. Raises `AssertionError`, which names the step."""
        async with self.tasks:
            self.reading = self.tasks.create_task(self._read())
            for number, step in enumerate(self.case.steps, 1):
                found, wanted = await self._step(step), _wanted(step)
                where = f"step {number} of {self.case.name}, {action_of(step)}"
                assert found == wanted, f"{where}\ngot:    {found}\nwanted: {wanted}"
            self._stop()
        await self.lookup.close()

    async def _step(self, step: Step) -> dict[str, Any]:
        self.outcome = Outcome(self.names)
        self.history.answers, self.history.asked = step.get("queries", []), []
        await getattr(self, action_of(step))(step)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await self.client.keep()  # it would do so soon
        self.outcome.written(self.call.frames, self.local.welcome.limits)
        self.call.frames.clear()
        if self.running and self.running.done():
            await self.outcome.ended(await self.running, self.lookup)
            self.running = None
        if asked := outcome.asked(self.history.asked, step.get("queries", [])):
            self.outcome.found["queries"] = asked
        if "stores" in step:
            self.outcome.stored(self.stored.load(), step["stores"].keys())
        return self.outcome.found


def repeated(send: Send, step: Step) -> Send:
    """Return a send with its text as often as the step says."""
    if send.HasField("message"):
        send.message.text *= step.get("repeat", 1)
    return send


def _wanted(step: Step) -> dict[str, Any]:
    """Return what a step expects, in the form of an outcome."""
    wanted = {key: step[key] for key in EXPECTED if key in step}
    if "sends" in step:
        sends = (repeated(ParseDict(each, Send()), step) for each in step["sends"])
        wanted["sends"] = [MessageToDict(send) for send in sends]
    if required := [each for each in step.get("queries", []) if not each.get("optional")]:
        wanted["queries"] = outcome.in_order(map(outcome.query_of, required))
    return wanted
