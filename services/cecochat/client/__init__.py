"""The Python client of CecoChat.

    from cecochat.client import Message, connect

    async with connect("http://127.0.0.1:8080", token) as alice:
        message_id = await alice.send("bob", "hello")  # returns once it can no longer be lost
        async for event in alice:
            if isinstance(event, Message):
                print(event.user_id, event.text)
                alice.mark_read(event.chat_id, event.id)

A client connects, and reconnects whenever the connection is lost. It resumes where it was, sends
again what was not acknowledged, fills gaps from the history and shows each message once. Use
`open_history` if you only need queries.

User ids and chat ids are plain `str`, message ids plain `int`, in what you pass and in what you
get: they come from your database and go back there. A malformed one raises
`InvalidArgument`. `cecochat.client.sync` is the same client for programs without asyncio.
"""

from __future__ import annotations

from cecochat.client.attachments import Attachment
from cecochat.client.client import Client
from cecochat.client.connecting import Connecting, connect
from cecochat.client.errors import (
    ChatError,
    Closed,
    InvalidArgument,
    NotReachable,
    NotRead,
    Refused,
    SendRejected,
    StateInUse,
    StateUnusable,
    TimedOut,
)
from cecochat.client.events import (
    CaughtUp,
    Change,
    Chat,
    Deletion,
    Edit,
    Entry,
    Event,
    Hole,
    Mention,
    Message,
    Page,
    Reaction,
    Receipt,
    Reconnecting,
    Rejected,
    Sent,
)
from cecochat.client.files import Files
from cecochat.client.group import Group, GroupChange, GroupOptions, Member, Members, Role
from cecochat.client.groups import Groups
from cecochat.client.history import History, open_history
from cecochat.client.lookup import Route, Token, find_route
from cecochat.client.names import chat_of, peer_of
from cecochat.client.reporting import Blocked
from cecochat.client.search import FoundPage
from cecochat.client.settings import FOR_GOOD, ChatSettings, SettingsChanged
from cecochat.client.signals import Presence, Signal, SignalRefused, Signals, Typing
from cecochat.client.state import FileState, State
from cecochat.client.timeline import Timeline
from cecochat.client.whereabouts import Step, Whereabouts

__all__ = [
    "FOR_GOOD",
    "Attachment",
    "Blocked",
    "CaughtUp",
    "Change",
    "Chat",
    "ChatError",
    "ChatSettings",
    "Client",
    "Closed",
    "Connecting",
    "Deletion",
    "Edit",
    "Entry",
    "Event",
    "FileState",
    "Files",
    "FoundPage",
    "Group",
    "GroupChange",
    "GroupOptions",
    "Groups",
    "History",
    "Hole",
    "InvalidArgument",
    "Member",
    "Members",
    "Mention",
    "Message",
    "NotReachable",
    "NotRead",
    "Page",
    "Presence",
    "Reaction",
    "Receipt",
    "Reconnecting",
    "Refused",
    "Rejected",
    "Role",
    "Route",
    "SendRejected",
    "Sent",
    "SettingsChanged",
    "Signal",
    "SignalRefused",
    "Signals",
    "State",
    "StateInUse",
    "StateUnusable",
    "Step",
    "TimedOut",
    "Timeline",
    "Token",
    "Typing",
    "Whereabouts",
    "chat_of",
    "connect",
    "find_route",
    "open_history",
    "peer_of",
]
