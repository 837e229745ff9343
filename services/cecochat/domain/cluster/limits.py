"""The keys of the central configuration that limit what users, services and apps may do. Each can
be set for one app, too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from cecochat.domain.cluster.keys import key


@dataclass(frozen=True, slots=True)
class Limits:
    """What users, services and apps may do."""

    sessions_max_per_user: int = key(
        "sessions.max_per_user", 16, "sessions", 1, 1_000, "the most sessions of one user"
    )
    sessions_max_per_app: int = key(
        "sessions.max_per_app",
        1_000_000,
        "sessions",
        1,
        1_000_000,
        "the most sessions of all users of an app on one server",
    )
    sends_rate_per_user: float = key(
        "sends.rate_per_user",
        20.0,
        "sends/s",
        0.1,
        1e6,
        "how many sends a user may make for long; others wait; a frame counts as at least one send",
    )
    sends_burst: int = key(
        "sends.burst", 200, "sends", 1, 1_000_000, "how many sends a user may make at once"
    )
    sends_rate_per_app: float = key(
        "sends.rate_per_app",
        1e6,
        "sends/s",
        1,
        1e6,
        "how many sends all users of an app may make on one server for long; others wait in turn",
    )
    connects_rate_per_user: float = key(
        "connects.rate_per_user",
        1.0,
        "connects/s",
        0.01,
        1e6,
        "how many connects a user may make for long, and how many lookups before them",
        "messaging, connect",
    )
    connects_burst: int = key(
        "connects.burst",
        60,
        "connects",
        1,
        1_000_000,
        "how many connects a user may make at once",
        "messaging, connect",
    )
    text_max_bytes: int = key(
        "text.max_bytes", 16 << 10, "bytes", 1, 32 << 10, "the longest message text, in UTF-8"
    )
    strangers_messages_max: int = key(
        "strangers.messages_max",
        0,
        "messages",
        0,
        1_000,
        "how many messages a user may write to somebody who has not answered; 0: any number, and "
        "no chat is a request",
        "messaging, history",
    )
    groups_members_max: int = key(
        "groups.members_max",
        1_000,
        "members",
        0,
        10_000,
        "how many members a group may have; 0: nobody can create a group",
    )
    groups_made_max: int = key(
        "groups.made_max",
        100,
        "groups",
        1,
        1_000_000,
        "how many groups a user may make that have their home in the same partition",
    )
    queries_rate_per_user: float = key(
        "queries.rate_per_user",
        20.0,
        "queries/s",
        0.1,
        1e6,
        "how many queries a user may make for long",
        "history",
    )
    queries_burst: int = key(
        "queries.burst",
        200,
        "queries",
        1,
        1_000_000,
        "how many queries a user may make at once",
        "history",
    )
    queries_at_once_per_user: int = key(
        "queries.at_once_per_user",
        8,
        "queries",
        1,
        10_000,
        "how many queries of a user may be under way, which they are until their answers are read",
        "history",
    )
    attachments_max_bytes: int = key(
        "attachments.max_bytes",
        25 << 20,
        "bytes",
        0,
        5 << 30,
        "the largest file that may be attached; 0: none may",
        "connect",
    )
    attachments_types: str = key(
        "attachments.types",
        "*",
        "",
        0,
        0,
        "which media types may be attached, as their senders name them: image/*, application/pdf "
        "and so on, separated by commas; *: any",
        "connect",
    )
    attachments_rate_per_user: float = key(
        "attachments.rate_per_user",
        5.0,
        "calls/s",
        0.1,
        1e6,
        "how many calls for attachments a user may make for long; each connect server counts for "
        "itself; to begin an upload counts as 5, and to finish or to read one as 1",
        "connect",
    )
    attachments_burst: int = key(
        "attachments.burst",
        200,
        "calls",
        5,
        1_000_000,
        "how many calls for attachments a user may make at once",
        "connect",
    )
    attachments_bytes_per_user: int = key(
        "attachments.bytes_per_user",
        2 << 30,
        "bytes/day",
        1,
        1 << 50,
        "how much a user may upload a day; each connect server counts for itself",
        "connect",
    )
    backend_rate_per_service: float = key(
        "backend.rate_per_service",
        5_000.0,
        "calls/s",
        1,
        1e6,
        "how many sends and queries a service of the back end, or all those of an app, may make "
        "for long; each connect server counts for itself",
        "connect",
    )
    backend_burst: int = key(
        "backend.burst",
        20_000,
        "calls",
        1_000,
        10_000_000,
        "how many sends and queries a service, or all those of an app, may make at once",
        "connect",
    )


APP_KEYS: Final = tuple(each.metadata["key"].name for each in fields(Limits))
