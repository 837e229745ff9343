"""All keys of the central configuration, each with its type, unit, range, default and meaning, and
which servers follow it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cecochat.domain.cluster.keys import Key, key, scale

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration in force. Absent keys have their defaults. Servers follow every key while
    they run.
    """

    sessions_max_per_server: int = key(
        "sessions.max_per_server",
        50_000,
        "sessions",
        1,
        1_000_000,
        "the most sessions on one server",
    )
    sessions_max_per_user: int = key(
        "sessions.max_per_user", 16, "sessions", 1, 1_000, "the most sessions of one user"
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
    queue_max_bytes: int = key(
        "queue.max_bytes",
        1 << 20,
        "bytes",
        128 << 10,
        64 << 20,
        "how much may wait for a slow session",
    )
    resend_window_s: float = key(
        "resend.window_s", 600.0, "s", 1, 86_400, "how long a repeated send is answered from memory"
    )
    tail_max_bytes: int = key(
        "tail.max_bytes",
        4 << 20,
        "bytes",
        0,
        1 << 30,
        "how much of the latest records each partition keeps in memory",
    )
    tokens_lifetime_max_s: int = key(
        "tokens.lifetime_max_s",
        30 * 86_400,
        "s",
        60,
        10 * 365 * 86_400,
        "the longest lifetime that a token may have, and how long a revocation is kept",
        "messaging, history, connect",
    )
    history_page_max: int = key(
        "history.page_max", 200, "rows", 1, 1_000, "the largest page of a query", "history"
    )
    history_page_max_bytes: int = key(
        "history.page_max_bytes",
        512 << 10,
        "bytes",
        64 << 10,
        3 << 20,
        "the largest page of a query in bytes; if there is more, it says has_more",
        "history",
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
    queries_at_once_per_server: int = key(
        "queries.at_once_per_server",
        128,
        "queries",
        1,
        100_000,
        "how many queries a server may answer at once; answers that wait to be read are not among "
        "them, but bounded in bytes",
        "history",
    )
    audit_rate: float = key(
        "audit.rate",
        2_000.0,
        "records/s",
        0,
        1e6,
        "how many records of the log a server compares with the history all the time; 0: none",
        "materialize",
    )
    connect_backoff_base_s: float = key(
        "connect.backoff.base", 0.1, "s", 0.01, 60, "a client's first wait to reconnect", "connect"
    )
    connect_backoff_factor: float = key(
        "connect.backoff.factor",
        2.0,
        "",
        1,
        10,
        "the factor by which each further wait is longer",
        "connect",
    )
    connect_backoff_max_s: float = key(
        "connect.backoff.max", 5.0, "s", 0.1, 600, "the longest wait to reconnect", "connect"
    )
    connect_backoff_jitter: float = key(
        "connect.backoff.jitter", 0.5, "", 0, 1, "the part of a wait that is random", "connect"
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
    drain_spread_s: float = key(
        "drain.spread_s",
        2.0,
        "s",
        0,
        300,
        "how long a stopping server takes to send its sessions away",
    )
    log_level: str = key(
        "log.level", "info", "", 0, 0, f"one of {', '.join(LOG_LEVELS)}", "every server"
    )
    web_origins: str = key(
        "web.origins",
        "",
        "",
        0,
        0,
        "origins of web pages that may use lookups, queries and WebSockets, beside the own page: "
        "https://chat.example.com and so on, separated by commas; programs other than browsers "
        "always may",
        "messaging, history, connect",
    )
    scale_messaging_min: int = scale("messaging.min", 2, "servers", "the fewest servers that run")
    scale_messaging_max: int = scale("messaging.max", 8, "servers", "the most servers that run")
    scale_messaging_target: float = scale(
        "messaging.target", 5000.0, "sessions", "how many connections one server should have"
    )
    scale_messaging_target_sends: float = scale(
        "messaging.target_sends", 500.0, "sends/s", "how many sends one server should take"
    )
    scale_messaging_cooldown_s: float = scale(
        "messaging.cooldown_s", 60.0, "s", "the time between two changes"
    )
    scale_materialize_min: int = scale(
        "materialize.min", 2, "servers", "the fewest servers that run"
    )
    scale_materialize_max: int = scale("materialize.max", 8, "servers", "the most servers that run")
    scale_materialize_target: float = scale(
        "materialize.target", 2000.0, "rows/s", "how many messages one server should write"
    )
    scale_materialize_lag_max: float = scale(
        "materialize.lag_max",
        20000.0,
        "records",
        "one server is added if a partition is further behind than this",
    )
    scale_materialize_cooldown_s: float = scale(
        "materialize.cooldown_s", 60.0, "s", "the time between two changes"
    )
    scale_history_min: int = scale("history.min", 2, "servers", "the fewest servers that run")
    scale_history_max: int = scale("history.max", 8, "servers", "the most servers that run")
    scale_history_target: float = scale(
        "history.target", 200.0, "requests/s", "how many queries one server should answer"
    )
    scale_history_latency_max_ms: float = scale(
        "history.latency_max_ms",
        100.0,
        "ms",
        "one server is added if a query takes longer than this on average",
    )
    scale_history_cooldown_s: float = scale(
        "history.cooldown_s", 60.0, "s", "the time between two changes"
    )
    scale_connect_min: int = scale("connect.min", 1, "servers", "the fewest servers that run")
    scale_connect_max: int = scale("connect.max", 8, "servers", "the most servers that run")
    scale_connect_target: float = scale(
        "connect.target",
        500.0,
        "requests/s",
        "how many lookups one server should answer; a call of the back end is one, and 20 "
        "of its sends are one more",
    )
    scale_connect_cooldown_s: float = scale(
        "connect.cooldown_s", 60.0, "s", "the time between two changes"
    )
    backend_rate_per_service: float = key(
        "backend.rate_per_service",
        5_000.0,
        "calls/s",
        1,
        1e6,
        "how many sends and queries a service of the back end may make for long; each connect "
        "server counts for itself",
        "connect",
    )
    backend_burst: int = key(
        "backend.burst",
        20_000,
        "calls",
        1_000,
        10_000_000,
        "how many sends and queries a service may make at once",
        "connect",
    )
    backend_pace: float = key(
        "backend.pace",
        1_250.0,
        "sends/s",
        1,
        1e6,
        "how many sends of back ends a connect server passes on, so that users do not wait "
        "meanwhile; the rest waits",
        "connect",
    )
    hooks_unread_delay_s: float = key(
        "hooks.unread_delay_s",
        10.0,
        "s",
        1,
        3_600,
        "how long a user with unread messages has to be without a session until endpoints are told",
        "hooks",
    )
    scale_hooks_min: int = scale("hooks.min", 1, "servers", "the fewest servers that run")
    scale_hooks_max: int = scale("hooks.max", 8, "servers", "the most servers that run")
    scale_hooks_target: float = scale(
        "hooks.target", 200.0, "webhooks/s", "how many webhooks one server should deliver"
    )
    scale_hooks_cooldown_s: float = scale(
        "hooks.cooldown_s", 60.0, "s", "the time between two changes"
    )
    trace_ratio: float = key(
        "trace.ratio",
        0.01,
        "",
        0,
        1,
        "the part of messages and calls that is traced",
        "every server",
    )
    trace_forced_rate: float = key(
        "trace.forced_rate",
        10.0,
        "traces/s",
        0,
        1e6,
        "how many traces clients may ask for",
        "every server",
    )
    trace_slow_ms: float = key(
        "trace.slow_ms",
        1_000.0,
        "ms",
        1,
        1e6,
        "a message is traced if it takes longer than this to be accepted, or to be in the history",
        "messaging, materialize",
    )
    control_paused: bool = key(
        "control.paused",
        False,
        "",
        0,
        1,
        "if true, control neither balances nor scales; partitions of dead servers still move",
        "control",
    )


KEYS: dict[str, tuple[str, Key, Any]] = {
    f.metadata["key"].name: (f.name, f.metadata["key"], f.default) for f in fields(Config)
}
"""Key name -> (name of the field in `Config`, key, default)."""
