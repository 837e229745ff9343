"""People, and the devices in their hands: they come, write, read, lose the network and leave."""

from __future__ import annotations

from cecochat.v1.events_pb2 import GroupOptions, Membership, Message
from cecochat.v1.messaging_pb2 import Send
from tests.sim.evidence import Look
from tests.sim.recount import FIRST_TEXT
from tests.sim.shape import GROUP
from tests.sim.state import State

OUTBOX_MAX = 3
LOOK = 6  # messages of a page


class People(State):
    """The part of the world that chats."""

    def do_found(self) -> bool:
        """a makes the group, with b and c."""
        self.founded = True
        options = GroupOptions(name="all", hides_past=True)
        return self._change("a0", Membership(added_ids=["b", "c"], options=options))

    def do_member(self, name: str, user: str, joins: bool) -> bool:
        """The person at that device adds a user to the group, or removes one, or leaves."""
        users = [user]
        change = Membership(added_ids=users) if joins else Membership(removed_ids=users)
        return self._change(name, change)

    def _change(self, name: str, change: Membership) -> bool:
        return self.founded and self.say(name, GROUP, Send(membership=change))

    def say(self, name: str, chat: str, body: Send, outbox_max: int = OUTBOX_MAX) -> bool:
        """A device sends something, unless it has so much to send already."""
        client = self.clients[name]
        if len(client.device.outbox) >= outbox_max:
            return False
        self.sends += 1
        client.send(chat, self.sends, body)
        return True

    def do_connect(self, name: str, node: int) -> bool:
        client = self.clients[name]
        server = self.running(node, self.place(client.user))
        if client.connection or not server or not server.owner.ready:
            return False
        client.connect(node)
        return True

    def do_cut(self, name: str) -> bool:
        if not self.clients[name].connection:
            return False
        self.clients[name].cut()
        return True

    def do_reload(self, name: str) -> None:
        self.clients[name].reload()

    def do_elsewhere(self, name: str, offset: int) -> bool:
        """A device has a position of another log, or one beyond the end of this one."""
        client = self.clients[name]
        if client.device.position is None:
            return False
        if client.connection:
            client.cut()
        if offset:
            client.device.position.offset += offset
        else:
            client.device.position.log_id = "another"
        client.record.gap_expected = True
        return True

    def do_send(self, name: str, chat: str) -> bool:
        client = self.clients[name]
        if not self.founded if chat == GROUP else client.user not in chat[2:].split("~"):
            return False
        return self.say(name, chat, Send(message=Message(text=FIRST_TEXT)))

    def do_fill(self, name: str) -> bool:
        """A device reads one more page into its gap, where the history holds what the token asks
        for.
        """
        client = self.clients[name]
        gap = client.device.gap
        if not client.connection or not gap or not self.history.covers(gap.token):
            return False
        client.fill()
        return True

    def do_look(self, name: str, chat: str) -> bool:
        """A person reads the newest messages of a chat in the history."""
        client = self.clients[name]
        events, _ = self.history.page(client.user, chat, after=0, limit=1_000)
        page = [event for event in events if event.id >= self.history.kept_from][-LOOK:]
        ids = tuple(event.id for event in page if event.WhichOneof("body"))
        told = frozenset(event.id for event in page if not event.WhichOneof("body"))
        self.looks.append(Look(client.user, chat, ids, told))
        client.read[chat] = max(*ids, client.read.get(chat, 0), 0)
        client.look(page)
        return bool(events)
