"""The groups of a user, for programs without asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from cecochat.client import groups
from cecochat.client.background import Background
from cecochat.client.group import Group, Member, Members, Role

WAIT_S = 30.0
THE_HISTORY = "the history"


class Groups:
    """The groups of a user: `client.groups`. All works like the asyncio `Groups`, and may also
    raise `TimedOut`: to try a change again, pass the `client_message_id` of the error.
    """

    def __init__(self, opened: groups.Groups, behind: Background) -> None:
        self._groups = opened
        self._behind = behind

    def create(
        self,
        name: str,
        *,
        members: Iterable[str] = (),
        invited: Iterable[str] = (),
        is_channel: bool = False,
        is_open: bool = False,
        hides_past: bool = False,
        chat_id: str | None = None,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> str:
        """Make a group, and return its chat id."""
        creating = partial(
            self._groups.create,
            name,
            members=members,
            invited=invited,
            is_channel=is_channel,
            is_open=is_open,
            hides_past=hides_past,
            chat_id=chat_id,
        )
        return self._behind.do(creating, client_message_id, timeout_s)

    def add(
        self,
        chat: str,
        *users: str,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Make these users members."""
        return self._behind.do(
            partial(self._groups.add, chat, *users), client_message_id, timeout_s
        )

    def remove(
        self,
        chat: str,
        *users: str,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Remove these members, or withdraw their invitations."""
        return self._behind.do(
            partial(self._groups.remove, chat, *users), client_message_id, timeout_s
        )

    def invite(
        self,
        chat: str,
        *users: str,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Let these users join."""
        return self._behind.do(
            partial(self._groups.invite, chat, *users), client_message_id, timeout_s
        )

    def ban(
        self,
        chat: str,
        *users: str,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Keep these users out."""
        return self._behind.do(
            partial(self._groups.ban, chat, *users), client_message_id, timeout_s
        )

    def unban(
        self,
        chat: str,
        *users: str,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Lift the ban of these users."""
        return self._behind.do(
            partial(self._groups.unban, chat, *users), client_message_id, timeout_s
        )

    def join(
        self, chat: str, *, client_message_id: str | None = None, timeout_s: float = WAIT_S
    ) -> int:
        """Become a member of a group that is open, or to which this user is invited."""
        return self._behind.do(partial(self._groups.join, chat), client_message_id, timeout_s)

    def leave(
        self, chat: str, *, client_message_id: str | None = None, timeout_s: float = WAIT_S
    ) -> int:
        """Leave a group."""
        return self._behind.do(partial(self._groups.leave, chat), client_message_id, timeout_s)

    def appoint(
        self,
        chat: str,
        user: str,
        role: Role,
        *,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Give a member another role."""
        appointing = partial(self._groups.appoint, chat, user, role)
        return self._behind.do(appointing, client_message_id, timeout_s)

    def rename(
        self,
        chat: str,
        name: str,
        *,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Call a group something else."""
        return self._behind.do(
            partial(self._groups.rename, chat, name), client_message_id, timeout_s
        )

    def configure(
        self,
        chat: str,
        *,
        name: str | None = None,
        is_channel: bool | None = None,
        is_open: bool | None = None,
        hides_past: bool | None = None,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Change options of a group; None leaves one as it is."""
        configuring = partial(
            self._groups.configure,
            chat,
            name=name,
            is_channel=is_channel,
            is_open=is_open,
            hides_past=hides_past,
        )
        return self._behind.do(configuring, client_message_id, timeout_s)

    def get(self, chat: str, *, timeout_s: float = WAIT_S) -> Group:
        """Return what a group is, and what this user is there."""
        return self._behind.wait(self._groups.get(chat), timeout_s, THE_HISTORY)

    def members(
        self,
        chat: str,
        limit: int = 50,
        *,
        after: str = "",
        as_of: int = 0,
        timeout_s: float = WAIT_S,
    ) -> Members:
        """Return a page of those who belong to a group, above the user id `after`."""
        asking = self._groups.members(chat, limit, after=after, as_of=as_of)
        return self._behind.wait(asking, timeout_s, THE_HISTORY)

    def every_member(self, chat: str, *, timeout_s: float = WAIT_S) -> Iterator[Member]:
        """Yield all who belong to a group or are invited, at one time. `timeout_s` is of a page."""
        after, as_of, more = "", 0, True
        while more:
            page = self.members(chat, after=after, as_of=as_of, timeout_s=timeout_s)
            yield from page.members
            more, as_of = page.has_more, page.as_of
            after = page.members[-1].user_id if more else after
