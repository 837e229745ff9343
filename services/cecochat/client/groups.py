"""Makes groups, and changes who belongs to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Protocol, TypeVar
from uuid import uuid4

from cecochat.client.arguments import (
    check_client_message_id,
    check_options,
    check_people,
    check_role,
)
from cecochat.client.errors import InvalidArgument
from cecochat.client.group import (
    Group,
    GroupOptions,
    Member,
    Members,
    Role,
    role_number,
    to_proto,
)
from cecochat.client.history import History
from cecochat.client.names import group_id
from cecochat.client.recent import recent
from cecochat.domain.log.ids import ChatId, app_of, of_app
from cecochat.v1.events_pb2 import Appointment, Membership
from cecochat.v1.messaging_pb2 import ReadToken, Send

Queue = Callable[[Send, str | None], Awaitable[asyncio.Future[int]]]
A = TypeVar("A", Group, Members)


class Told(Protocol):
    """What a client has been told, so that it asks for no less."""

    @property
    def group_changes(self) -> Mapping[ChatId, int]:
        """Chat id -> the last change that has reached it."""

    def read_token(self) -> ReadToken | None: ...


class Groups:
    """The groups of a user: `client.groups`. A group is named by its chat id, `g:` and its id.

        hikers = await alice.groups.create("Hikers", members=["bob", "carol"])
        await alice.send(hikers, "Where to on Sunday?")
        await alice.groups.add(hikers, "dave")

    Each change is sent like a message: it waits while there is no connection, is sent again until
    it is answered, and sending it again with the same `client_message_id` makes no second one. It
    returns the id of the change once it can no longer be lost. Others get it as a `GroupChange`.

    Changes raise as `Client.send`. `SendRejected` has the code `not_found` if there is no such
    group for this user, and `forbidden` if the user's role allows less. One change may name 100
    people.
    """

    def __init__(
        self,
        user_id: str,
        queue: Queue,
        history: History,
        local: Told,
    ) -> None:
        self._user_id = user_id
        self._queue = queue
        self._history = history
        self._local = local

    async def create(
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
    ) -> str:
        """Make a group with these members besides this user, who owns it. Return its chat id.

        The options are those of `GroupOptions`. Nobody can guess the id, unless `chat_id` gives
        one, such as `g:hikers`. If a group of others has it, `SendRejected` has the code
        `not_found`; if this user belongs to that group, it has `invalid_argument`, unless it is
        theirs and has these options: then nothing changes. The same `client_message_id` makes one
        group.
        """
        options = GroupOptions(name, is_channel, is_open, hides_past)
        client_message_id = uuid4().hex if client_message_id is None else client_message_id
        chosen = self._id(client_message_id) if chat_id is None else group_id(chat_id)
        added, asked = _people(members, may_be_none=True), _people(invited, may_be_none=True)
        check_options(asdict(options))
        change = Membership(
            added_ids=added, invited_ids=asked, options=to_proto(options), creates=True
        )
        await self._change(chosen, change, client_message_id)
        return chosen

    def _id(self, client_message_id: str) -> str:
        check_client_message_id(client_message_id)
        hashed = sha256(f"{self._user_id} {client_message_id}".encode()).hexdigest()[:32]
        return f"g:{of_app(app_of(self._user_id), hashed)}"

    async def add(self, chat: str, *users: str, client_message_id: str | None = None) -> int:
        """Make these users members. It takes an admin."""
        return await self._change(chat, Membership(added_ids=_people(users)), client_message_id)

    async def remove(self, chat: str, *users: str, client_message_id: str | None = None) -> int:
        """Remove these members, or withdraw their invitations. It takes an admin, and a role above
        theirs.
        """
        return await self._change(chat, Membership(removed_ids=_people(users)), client_message_id)

    async def invite(self, chat: str, *users: str, client_message_id: str | None = None) -> int:
        """Let these users join. It takes an admin. Nobody tells them: your application does."""
        return await self._change(chat, Membership(invited_ids=_people(users)), client_message_id)

    async def join(self, chat: str, *, client_message_id: str | None = None) -> int:
        """Become a member of a group that is open, or to which this user is invited."""
        change = Membership(added_ids=[self._user_id])
        return await self._change(chat, change, client_message_id)

    async def leave(self, chat: str, *, client_message_id: str | None = None) -> int:
        """Leave a group. If its owner does, the admin who came first owns it, or else the member
        who did.
        """
        change = Membership(removed_ids=[self._user_id])
        return await self._change(chat, change, client_message_id)

    async def ban(self, chat: str, *users: str, client_message_id: str | None = None) -> int:
        """Keep these users out: members among them are removed, and none of them can join or be
        added. It takes an admin, and a role above theirs.
        """
        return await self._change(chat, Membership(banned_ids=_people(users)), client_message_id)

    async def unban(self, chat: str, *users: str, client_message_id: str | None = None) -> int:
        """Lift the ban of these users, who do not become members by that. It takes an admin."""
        return await self._change(chat, Membership(unbanned_ids=_people(users)), client_message_id)

    async def appoint(
        self, chat: str, user: str, role: Role, *, client_message_id: str | None = None
    ) -> int:
        """Give a member another role. It takes the owner, who is an admin once another owner is
        appointed. To mute a member, or make one who is muted a member again, takes an admin.
        """
        check_role(role)
        (user_id,) = _people([user])
        change = Membership(appointments=[Appointment(user_id=user_id, role=role_number(role))])
        return await self._change(chat, change, client_message_id)

    async def rename(self, chat: str, name: str, *, client_message_id: str | None = None) -> int:
        """Call a group something else. It takes an admin. Works like `configure`."""
        return await self.configure(chat, name=name, client_message_id=client_message_id)

    async def configure(
        self,
        chat: str,
        *,
        name: str | None = None,
        is_channel: bool | None = None,
        is_open: bool | None = None,
        hides_past: bool | None = None,
        client_message_id: str | None = None,
    ) -> int:
        """Change options of a group; None leaves one as it is. Anything but the name takes the
        owner.

        The other options are read before. Of two who do this at once, the later one decides all.
        """
        given = {
            "name": name,
            "is_channel": is_channel,
            "is_open": is_open,
            "hides_past": hides_past,
        }
        wanted = {option: value for option, value in given.items() if value is not None}
        if not wanted:
            raise InvalidArgument(f"no option is given: use one of {', '.join(given)}")
        check_options(wanted)
        options = replace((await self.get(chat)).options, **wanted)  # type: ignore[arg-type]
        return await self._change(chat, Membership(options=to_proto(options)), client_message_id)

    async def _change(self, chat: str, change: Membership, client_message_id: str | None) -> int:
        send = Send(chat_id=group_id(chat), membership=change)
        return await (await self._queue(send, client_message_id))

    # -- what the history knows

    async def get(self, chat: str) -> Group:
        """Return what a group is, and what this user is there, after all changes that have reached
        this client. Raises `ChatError`.
        """
        return await self._recent(
            chat, lambda: self._history.group(chat, token=self._local.read_token())
        )

    async def _recent(self, chat: str, ask: Callable[[], Awaitable[A]]) -> A:
        last_change = self._local.group_changes.get(group_id(chat))
        if last_change is None:
            return await ask()
        return await recent(ask, lambda answer: answer.as_of >= last_change)

    async def members(
        self, chat: str, limit: int = 50, *, after: str = "", as_of: int = 0
    ) -> Members:
        """Return a page of those who belong to a group, above the user id `after`.

        For pages that belong together, pass `as_of` of the first, which has all changes that have
        reached this client. Raises `ChatError`.
        """

        def ask() -> Awaitable[Members]:
            token = self._local.read_token()
            return self._history.members(chat, limit, after=after, as_of=as_of, token=token)

        return await (ask() if as_of else self._recent(chat, ask))

    async def every_member(self, chat: str) -> AsyncGenerator[Member]:
        """Yield all who belong to a group or are invited, at one time. Raises `ChatError`."""
        after, as_of, more = "", 0, True
        while more:
            page = await self.members(chat, after=after, as_of=as_of)
            for member in page.members:
                after = member.user_id
                yield member
            as_of, more = page.as_of, page.has_more


def _people(users: Iterable[str], *, may_be_none: bool = False) -> list[str]:
    people = [users] if isinstance(users, str) else list(users)
    if not people and not may_be_none:
        raise InvalidArgument("nobody is named: give at least one user id")
    check_people(people)
    return people
