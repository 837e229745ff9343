"""All keys of the central configuration, each with its type, unit, range, default and meaning, and
which servers follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cecochat.domain.cluster.keys import Key, key, scale
from cecochat.domain.cluster.limits import Limits
from cecochat.domain.log.ids import app_of

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Config(Limits):
    """The configuration in force. Absent keys have their defaults. Servers follow every key while
    they run.

    `apps` has the configuration of each app that has limits of its own, by the app's name.
    """

    apps: Mapping[str, Config] = field(default_factory=dict)
    sessions_max_per_server: int = key(
        "sessions.max_per_server",
        50_000,
        "sessions",
        1,
        1_000_000,
        "the most sessions on one server",
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
    backend_pace: float = key(
        "backend.pace",
        1_250.0,
        "sends/s",
        1,
        1e6,
        "how many sends of back ends a connect server passes on, so that users do not wait "
        "meanwhile; the rest waits, and apps take turns",
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

    def of(self, id_: str) -> Config:
        """Return the configuration for a user, a service or a chat, by its id: that of its app."""
        return self.apps.get(app_of(id_), self) if self.apps else self


KEYS: dict[str, tuple[str, Key, Any]] = {
    each.metadata["key"].name: (each.name, each.metadata["key"], each.default)
    for each in fields(Config)
    if "key" in each.metadata
}
"""Key name -> (name of the field in `Config`, key, default)."""
