"""People, and the devices in their hands: they come, write, read, lose the network and leave."""

from __future__ import annotations

from collections.abc import Sequence

from cecochat.domain.log.ids import ChatId, UserId, authorise
from tests.sim.evidence import Look
from tests.sim.shape import GROUP
from tests.sim.state import State

OUTBOX_MAX = 3
LOOK = 6  # messages of a page


class People(State):
    """The part of the world that chats."""

    def recipients(self, node: int, user: str, chat: str) -> Sequence[str] | None:
        """Whom a send concerns, as far as that node knows; None: it is to be refused."""
        if self.refuses[node]:
            return None
        return recipients_of(user, chat, self.known_members[node])

    def do_member(self, user: str, joins: bool) -> bool:
        """A user joins or leaves the group."""
        if joins == (user in self.members):
            return False
        self.members = self.members | {user} if joins else self.members - {user}
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
        if (
            recipients_of(client.user, chat, self.members) is None
            if chat == GROUP
            else (client.user not in chat[2:].split("~"))
        ):
            return False
        if len(client.device.outbox) >= OUTBOX_MAX:
            return False
        self.sends += 1
        client.send(chat, self.sends)
        return True

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
        page = events[-LOOK:]
        ids = tuple(event.id for event in page if event.HasField("message"))
        told = frozenset(event.id for event in page if not event.HasField("message"))
        self.looks.append(Look(client.user, chat, ids, told))
        client.read[chat] = max(*ids, client.read.get(chat, 0), 0)
        return bool(events)


def recipients_of(user: str, chat: str, members: frozenset[str]) -> Sequence[str] | None:
    """Whom a send concerns besides its sender; None: it may not send there."""
    if chat.startswith("d:"):
        return authorise(UserId(user), ChatId(chat))
    return sorted(members - {user}) if user in members else None
