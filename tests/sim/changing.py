"""People change messages that they see: they edit, delete and react, also where they may not.

That is drawn from a stream of its own, so that all else of a seed stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cecochat.v1.events_pb2 import Deletion, Edit, Reaction
from cecochat.v1.messaging_pb2 import Send
from tests.sim.people import People
from tests.sim.shape import DEVICES

if TYPE_CHECKING:
    from tests.sim.evidence import Shown
    from tests.sim.spoiling import Action
    from tests.sim.world import World

EMOJI = "+-"
OUTBOX_MAX = 6  # that of who only writes is full most of the time


class Changing(People):
    """The part of the world where messages are changed. `back` counts from the last message that a
    device has shown, of all or of its user's `own`.
    """

    def do_edit(self, name: str, own: bool, back: int) -> bool:
        if not (message := self._shown(name, own, back)):
            return False
        edit = Edit(message_id=message.id, text=str(self.sends + 1))
        return self.say(name, message.chat, Send(edit=edit), OUTBOX_MAX)

    def do_delete(self, name: str, own: bool, back: int, as_admin: bool) -> bool:
        if not (message := self._shown(name, own, back)):
            return False
        deletion = Deletion(message_id=message.id, as_admin=as_admin)
        return self.say(name, message.chat, Send(deletion=deletion), OUTBOX_MAX)

    def do_react(self, name: str, back: int, emoji: str, removed: bool) -> bool:
        if not (message := self._shown(name, False, back)):
            return False
        reaction = Reaction(message_id=message.id, emoji=emoji, removed=removed)
        return self.say(name, message.chat, Send(reaction=reaction), OUTBOX_MAX)

    def _shown(self, name: str, own: bool, back: int) -> Shown | None:
        client = self.clients[name]
        among = [each for each in client.messages if not own or each.sender == client.user]
        return among[-1 - back] if back < len(among) else None


class Changes:
    """When to change what: with the probability `change` after each step; without weights, in half
    of the runs, now and then or often.
    """

    def __init__(self, seed: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-changes")
        own = self._rng.choice([0, 0, 0, 0.03, 0.1, 0.3])
        self._probability = own if weights is None else weights.get("change", 0)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        names = [name for name in DEVICES if world.clients[name].messages]
        if self._rng.random() < self._probability and names:
            yield self._change(self._rng.choice(names))

    def _change(self, name: str) -> Action:
        rng = self._rng
        own, back = rng.random() < 0.6, rng.choice([0, 0, 0, 1, 2])
        match rng.choice(["edit", "edit", "edit", "delete", "react", "react", "react"]):
            case "edit":
                return "edit", name, own, back
            case "delete":
                return "delete", name, own, back, rng.random() < 0.5
        return "react", name, back, rng.choice(EMOJI), rng.random() < 0.4
