"""The product's back end sends as users, by calls to whoever owns the partition: requests and
answers come in any order, late or never, and it tries again until it has an answer.

What it does is drawn from a stream of its own, so that all else of a seed stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership.asks import Known, Taken
from cecochat.domain.ownership.calls import Called, Decision, Unsure
from cecochat.v1.events_pb2 import ROLE_OWNER
from cecochat.v1.messaging_pb2 import ReadToken, Send
from tests.sim.evidence import CallRecord
from tests.sim.judging import JUDGED
from tests.sim.log import LOG_ID
from tests.sim.recount import FIRST_TEXT
from tests.sim.server import Server
from tests.sim.shape import GROUP, SYSTEM
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World

CALLS_MAX = 4
"""How many may be without an answer."""


@dataclass
class Call:
    """A send of the back end. Its clock is wrong by what is in `since_ms`."""

    record: CallRecord
    since_ms: int
    under_way: bool = False
    tries: int = 0
    unsure: Place | None = None  # where the history has to be asked about
    absent: Place = NOWHERE

    @property
    def waits(self) -> bool:
        """Whether it has no answer yet."""
        record = self.record
        return not (record.id or record.refused or record.unclear)

    def called(self) -> Called:
        """The call, as it is made now."""
        record = self.record
        send = Send(client_message_id=str(record.number), chat_id=record.chat)
        as_system = record.sender == SYSTEM
        if as_system and record.number % 3 == 0:
            heir = "abc"[record.number % 9 // 3]
            send.membership.appointments.add(user_id=heir, role=ROLE_OWNER)
        else:
            send.message.text = FIRST_TEXT
        return Called(UserId(record.sender), send, self.since_ms, self.absent, as_system)


class CallRequest(NamedTuple):
    """A call on its way to an owner."""

    call: Call
    called: Called
    partition: int
    attempt: int


class CallReply(NamedTuple):
    """A decision on its way back, once the owner has read up to below `end`."""

    request: CallRequest
    decision: Decision
    server: Server
    end: int


class Calling(State):
    """The part of the world where the back end calls."""

    def do_call(self, user: str, chat: str, early_ms: int, knows: bool) -> bool:
        """The back end wants to send something, as early as it says. It may know a place where it
        had not sent that yet.
        """
        waiting = sum(call.waits for call in self.calls)
        if waiting >= CALLS_MAX or (chat == GROUP and not self.founded):
            return False
        self.sends += 1
        record = CallRecord(self.sends, user, chat)
        known = self.call_places[self._home(record)] if knows else NOWHERE
        self.calls.append(Call(record, self.now_ms - early_ms, absent=known))
        return True

    def do_try_call(self, index: int) -> bool:
        """It tries a send, for the first time or again."""
        call = self._call(index)
        if not call or call.under_way or call.unsure:
            return False
        call.under_way = True
        waits = any(each.call is call for each in self.call_requests)
        call.record.hurries = waits or (call.tries > 0 and not self._has_landed(call.record))
        call.tries += 1
        home = self._home(call.record)
        self.call_requests.append(CallRequest(call, call.called(), home, call.tries))
        return True

    def do_land_call(self, index: int, node: int) -> bool:
        """A call comes to a node, which decides if it owns that partition."""
        if index >= len(self.call_requests):
            return False
        request = self.call_requests[index]
        server = self.running(node, request.partition)
        if not server or not server.owner.ready:
            return False
        del self.call_requests[index]
        verdict = JUDGED if self.judges[node] else None
        called = request.called._replace(verdict=verdict)
        decision, origin = server.calls.take(called, server.now_ms())
        if origin:
            server.append(server.partition, origin)
        end = self.end_to_read_for(server) if isinstance(decision, Refusal) else 0
        self.call_replies.append(CallReply(request, decision, server, end))
        return True

    def end_to_read_for(self, server: Server) -> int:
        """Up to where an owner has to read before it may refuse a call."""
        return server.log.end

    def do_answer_call(self, index: int) -> bool:
        """An answer comes, once there is one."""
        if index >= len(self.call_replies):
            return False
        reply = self.call_replies[index]
        server, decision = reply.server, reply.decision
        if self.servers.get((server.node, server.partition)) is not server:
            return self.do_lose_call_answer(index)
        if isinstance(decision, Taken):
            decision = server.calls.taken(reply.request.called.key) or decision
        if isinstance(decision, Taken) or server.owner.cursor < reply.end:
            return False
        del self.call_replies[index]
        self._answered(reply.request, decision)
        return True

    def _answered(self, request: CallRequest, decision: Decision) -> None:
        call = request.call
        if not (call.under_way and request.attempt == call.tries):
            return  # nobody waits for it any more
        call.under_way = False
        match decision:
            case Known(message_id, at):
                call.record.id = message_id
                self.call_places[self._home(call.record)] = at
            case Unsure(at):
                call.unsure = self.call_places[self._home(call.record)] = at
            case Refusal():
                call.record.refused = True

    def do_lose_call(self, index: int) -> bool:
        """A connection breaks: a call does not come, and its caller knows."""
        if index >= len(self.call_requests):
            return False
        self._give_up_call(self.call_requests.pop(index))
        return True

    def do_lose_call_answer(self, index: int) -> bool:
        """A connection breaks: an answer does not come."""
        if index >= len(self.call_replies):
            return False
        self._give_up_call(self.call_replies.pop(index).request)
        return True

    def do_give_up_call(self, index: int) -> bool:
        """The caller waits no longer for a call that may yet come."""
        if index >= len(self.call_requests):
            return False
        self._give_up_call(self.call_requests[index])
        return True

    def _give_up_call(self, request: CallRequest) -> None:
        if request.attempt == request.call.tries:
            request.call.under_way = False

    def do_look_up(self, index: int) -> bool:
        """It looks for its send in the history, once that holds all that it may be in."""
        call = self._call(index)
        if not call or not call.unsure:
            return False
        record, at = call.record, call.unsure
        home = self._home(record)
        token = ReadToken(log_id=LOG_ID, offsets={home: at.offset}, clocks={home: at.clock_ms})
        if not self.history.covers(token):
            return False
        key, after = (record.sender, record.number), call.called().after_id
        rows = (row for row in self.history.rows.keys() | self.history.holes if row.id > after)
        found = [row for row in rows if (row.sender, row.number) == key]
        call.unsure = None
        if found:
            record.id = min(row.id for row in found)
        elif any(each.partition == home for each in self.history.ranges()):
            record.unclear = True
        else:
            call.absent = at
        return True

    def _home(self, record: CallRecord) -> int:
        """The partition that accepts it."""
        return self.place(record.chat if record.chat == GROUP else record.sender)

    def _has_landed(self, record: CallRecord) -> bool:
        """Whether an earlier try is in the log."""
        return any(
            (origin.user_id, origin.client_message_id) == (record.sender, str(record.number))
            for origin in self.logs[self._home(record)].records
            if isinstance(origin, Origin)
        )

    def _call(self, index: int) -> Call | None:
        waiting = [call for call in self.calls if call.waits]
        return waiting[index] if index < len(waiting) else None


SENDERS = [
    ("a", "d:a~b"),
    ("b", "d:a~b"),
    ("c", "d:a~c"),
    ("b", GROUP),
    ("c", GROUP),
    (SYSTEM, GROUP),
]
EARLY_MS = [0, 0, -50_000, -(10**7), 50_000, 10**9]
"""How early a send may have been tried, by what the caller says. Its clock may be ahead."""


class Calls:
    """When to call: with the probability `call` after each step; without weights, in half of the
    runs, now and then or often.
    """

    def __init__(self, seed: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-calls")
        own = self._rng.choice([0, 0, 0, 0.02, 0.05, 0.2])
        self._probability = own if weights is None else weights.get("call", 0)
        own_loss = self._rng.choice([0, 0.1, 0.3])
        self._loss = own_loss if weights is None else weights.get("lose_call", own_loss)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        rng = self._rng
        if rng.random() < self._probability:
            yield "call", *rng.choice(SENDERS), rng.choice(EARLY_MS), rng.random() < 0.5
        if world.calls and rng.random() < 0.5:
            yield from self._go_on(world)

    def _go_on(self, world: World) -> Iterator[Action]:
        rng = self._rng
        index = rng.randrange(CALLS_MAX)
        yield rng.choice(["try_call", "look_up"]), index
        if world.call_requests and rng.random() < self._loss:
            kind = rng.choice(["lose_call", "give_up_call", "give_up_call"])
            yield kind, rng.randrange(len(world.call_requests))
        if world.call_replies and rng.random() < self._loss:
            yield "lose_call_answer", rng.randrange(len(world.call_replies))
        if world.call_requests and rng.random() < 0.5:
            index = rng.randrange(len(world.call_requests))
            yield "land_call", index, self._owner(world, world.call_requests[index].partition)
        if world.call_replies:
            yield "answer_call", rng.randrange(len(world.call_replies))

    def _owner(self, world: World, partition: int) -> int:
        """Whoever owns it, or does not know yet that they do not any more."""
        nodes = [node for node, owned in world.servers if owned == partition]
        return self._rng.choice(nodes) if nodes else 0
