"""Plays a case against the Python client: all of it but storage, sockets and clocks."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from cecochat.client.client import Client
from cecochat.client.errors import ChatError
from cecochat.client.lookup import NoOtherToken
from cecochat.client.options import Options
from cecochat.client.transport.websocket import closed_by
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import ChatId
from cecochat.v1.messaging_pb2 import Send, ServerFrame
from tests.conformance import outcome
from tests.conformance.between import ADDRESS, ROUTE, Clock, ScriptedLookup, ScriptedTransport
from tests.conformance.case import EXPECTED, Case, Step, action_of
from tests.conformance.outcome import Names, Outcome
from tests.conformance.scripted import ScriptedCall, ScriptedHistory, Stored

SOON_S = 0.1
BACK_S = 60.0  # above every wait of the kit
TURNS = 50  # of the loop: more than any step takes, as nothing waits for anything outside


class Player:
    """A client in the hands of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.token = outcome.TOKEN
        self.clock = Clock()
        self.lookup = ScriptedLookup("http://connect.example", self._supply, None)
        self.history = ScriptedHistory(self.lookup)
        self.tasks = asyncio.TaskGroup()
        self.running: asyncio.Task[ChatError] | None = None
        self.was_open = False
        self.reading: asyncio.Task[None] | None = None
        self.names = Names()
        self.outcome = Outcome(self.names)
        self._begin(Device(case.user, device_id=case.device_id))
        self.call = ScriptedCall(self.stored)

    def _begin(self, device: Device) -> None:
        self.stored = Stored(device)
        self.transport = ScriptedTransport()
        options = Options("conformance kit", receipts=False, buffer_max_bytes=1 << 30)
        self.client = Client(
            self.lookup, self.transport, self.history, self.stored, device, options
        )
        self.local = self.client._local

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
        self.transport.calls.put_nowait(self.call)
        self.was_open = True

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
        plain = send.HasField("message") and not send.message.attachments
        if not plain or send.message.reply_to_id:
            self._follow(id_, await self.client._queue(send, id_))
            return
        to, text = send.chat_id, send.message.text
        self._follow(id_, await self.client.post(to, text, client_message_id=id_ or None))

    def _follow(self, id_: str, answer: asyncio.Future[int]) -> None:
        """Note the answer to a send in the step in which it comes."""
        answer.add_done_callback(lambda answer: self.outcome.answered(id_, answer))

    async def read(self, step: Step) -> None:
        """Let the application ask for the newest messages of a chat."""
        await self.client.history(step["read"])

    async def restart(self, _: Step) -> None:
        """Kill the application, and start it again from what it has stored."""
        self._stop()
        self._begin(Device.restored(self.stored.load()))
        self._start()

    def _start(self) -> None:
        self.reading = self.tasks.create_task(self._read())
        self.running = self.tasks.create_task(self._run())

    async def _run(self) -> ChatError:
        """Stay connected, until an error ends the client."""
        try:
            await self.client._keep_connected(ROUTE, outcome.TOKEN)
        except ChatError as error:
            return error
        raise AssertionError("nothing else ends it")

    def _stop(self) -> None:
        for task in (self.running, self.reading):
            if task:
                task.cancel()
        self.was_open = False

    # -- one step after the other

    async def play(self) -> None:
        """Play all steps. Raises `AssertionError`, which names the step."""
        async with self.tasks:
            self._start()
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
        await self._rest()
        await self.client.keep()  # it would do so soon
        self.outcome.written(self.call.frames, self.local.welcome.limits)
        self.call.frames.clear()
        if self.was_open and not self.transport.is_open:
            self.was_open = False
            self.outcome.found["ends"] = await self._ended()
        if asked := outcome.asked(self.history.asked, step.get("queries", [])):
            self.outcome.found["queries"] = asked
        if "stores" in step:
            self.outcome.stored(self.stored.load(), step["stores"].keys())
        return self.outcome.found

    async def _rest(self) -> None:
        """Let all that can go on without time go on."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _ended(self) -> dict[str, str]:
        """Return how the client goes on after the end of a stream."""
        if error := self._error():
            return {"comesBack": "with another token" if isinstance(error, NoOtherToken) else "no"}
        ends = {"comesBack": "yes"}
        if (error := self.client._last) and error.retry_after_s:
            self.clock.turn(error.retry_after_s - SOON_S)
            await self._rest()
            if not self.transport.opening:
                ends["waitsAtLeastMs"] = str(round(error.retry_after_s * 1_000))
        self.clock.turn(BACK_S)
        await self._rest()
        if error := self._error():
            return {"comesBack": "with another token" if isinstance(error, NoOtherToken) else "no"}
        return ends | self._address()

    def _error(self) -> ChatError | None:
        """Return the error that ended the client."""
        assert self.running
        return self.running.result() if self.running.done() else None

    def _address(self) -> dict[str, str]:
        """Return where the client goes, if that is not where the connect server leads."""
        to, self.transport.moved_to = self.transport.moved_to, None
        if self.transport.opening == ADDRESS or not to:
            return {}
        return {"address": self.transport.opening, "websocket": to.websocket}


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
