"""What the members of a group may do, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_MUTED,
    ROLE_OWNER,
    GroupOptions,
    Role,
)
from cecochat.v1.messaging_pb2 import Send


class Act(Enum):
    """What somebody wants to do. The value says it in a sentence: "may not ..."."""

    SEND = "write in this group"
    RECEIVE = "receive messages in this group"
    REACT = "react to messages in this group"
    RETRACT = "delete your messages in this group"
    MODERATE = "delete messages of other members"
    LEAVE = "leave this group"
    ADD = "add members"
    INVITE = "invite people"
    REMOVE = "remove members"
    RENAME = "rename the group"
    CONFIGURE = "change who may join, see the past and write"
    APPOINT = "change roles"
    MUTE = "mute members"
    BAN = "ban users"


LEAST_ROLE: Mapping[Act, Role.ValueType] = {
    Act.SEND: ROLE_MEMBER,
    Act.RECEIVE: ROLE_MUTED,
    Act.REACT: ROLE_MEMBER,
    Act.RETRACT: ROLE_MUTED,
    Act.MODERATE: ROLE_ADMIN,
    Act.LEAVE: ROLE_MUTED,
    Act.ADD: ROLE_ADMIN,
    Act.INVITE: ROLE_ADMIN,
    Act.REMOVE: ROLE_ADMIN,  # of those with a lower role than one's own
    Act.RENAME: ROLE_ADMIN,
    Act.CONFIGURE: ROLE_OWNER,
    Act.APPOINT: ROLE_OWNER,
    Act.MUTE: ROLE_ADMIN,  # those with a lower role than one's own
    Act.BAN: ROLE_ADMIN,  # the same
}
IN_CHANNELS: Mapping[Act, Role.ValueType] = {**LEAST_ROLE, Act.SEND: ROLE_ADMIN}


def act_of(send: Send) -> Act:
    """Return what a send of anything but a change of members wants to do."""
    match send.WhichOneof("body"):
        case "receipt":
            return Act.RECEIVE
        case "reaction":
            return Act.REACT
        case "deletion":
            return Act.MODERATE if send.deletion.as_admin else Act.RETRACT
    return Act.SEND


def may(role: Role.ValueType, act: Act, options: GroupOptions) -> bool:
    """Return whether a member with that role may do that in a group with these options."""
    return role >= (IN_CHANNELS if options.is_channel else LEAST_ROLE)[act]


def not_found(chat_id: ChatId) -> Refusal:
    """Return the refusal for who does not belong to a group, which they cannot tell from one that
    does not exist.
    """
    return Refusal(
        errors_pb2.ERROR_CODE_NOT_FOUND,
        f"there is no group {chat_id} that you belong to: check its id, or ask a member",
    )
