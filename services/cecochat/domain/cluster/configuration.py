"""The keys of the central configuration: type, unit, range, default, meaning and who follows each,
in this one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from cecochat.domain.errors import InvalidSettings

LOG_LEVELS = ("debug", "info", "warning", "error")


class Key(NamedTuple):
    """One key: `low` and `high` include their ends."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    followed_by: str


def _key(
    name: str, default: Any, unit: str, low: float, high: float, meaning: str, by: str = "messaging"
) -> Any:
    return field(default=default, metadata={"key": Key(name, unit, low, high, meaning, by)})


def _scale(name: str, default: float, unit: str, meaning: str) -> Any:
    whole = isinstance(default, int)
    low, high = (0, 1_000) if whole else (0.001, 1e9)
    return _key(f"scale.{name}", default, unit, low, high, meaning, "control")


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration in force. Absent keys have their defaults; every key is followed while
    running.
    """

    sessions_max_per_server: int = _key(
        "sessions.max_per_server", 50_000, "sessions", 1, 1_000_000, "sessions that a server takes"
    )
    sessions_max_per_user: int = _key(
        "sessions.max_per_user", 16, "sessions", 1, 1_000, "sessions that a user may have"
    )
    sends_rate_per_user: float = _key(
        "sends.rate_per_user",
        20.0,
        "sends/s",
        0.1,
        1e6,
        "sends a user may make for long; more wait; a frame counts as one at least",
    )
    sends_burst: int = _key(
        "sends.burst", 200, "sends", 1, 1_000_000, "sends a user may make at once"
    )
    connects_rate_per_user: float = _key(
        "connects.rate_per_user",
        1.0,
        "connects/s",
        0.01,
        1e6,
        "connects a user may make for long, and lookups before them",
        "messaging, connect",
    )
    connects_burst: int = _key(
        "connects.burst",
        60,
        "connects",
        1,
        1_000_000,
        "connects a user may make at once",
        "messaging, connect",
    )
    text_max_bytes: int = _key(
        "text.max_bytes", 16 << 10, "bytes", 1, 32 << 10, "the longest message text, in UTF-8"
    )
    queue_max_bytes: int = _key(
        "queue.max_bytes", 1 << 20, "bytes", 128 << 10, 64 << 20, "what may wait for a slow session"
    )
    resend_window_s: float = _key(
        "resend.window_s", 600.0, "s", 1, 86_400, "how long repeats of a send are known by heart"
    )
    tail_max_bytes: int = _key(
        "tail.max_bytes", 4 << 20, "bytes", 0, 1 << 30, "latest records kept in memory, a partition"
    )
    tokens_lifetime_max_s: int = _key(
        "tokens.lifetime_max_s",
        30 * 86_400,
        "s",
        60,
        10 * 365 * 86_400,
        "the longest life that a token may have; so long a revocation is kept",
        "messaging, history, connect",
    )
    history_page_max: int = _key(
        "history.page_max", 200, "rows", 1, 1_000, "the largest page of a query", "history"
    )
    history_page_max_bytes: int = _key(
        "history.page_max_bytes",
        512 << 10,
        "bytes",
        64 << 10,
        3 << 20,
        "a page ends before it would be larger, with has_more",
        "history",
    )
    queries_rate_per_user: float = _key(
        "queries.rate_per_user",
        20.0,
        "queries/s",
        0.1,
        1e6,
        "queries a user may make for long",
        "history",
    )
    queries_burst: int = _key(
        "queries.burst", 200, "queries", 1, 1_000_000, "queries a user may make at once", "history"
    )
    queries_at_once_per_user: int = _key(
        "queries.at_once_per_user",
        8,
        "queries",
        1,
        10_000,
        "queries of a user that are under way, until their answers are read",
        "history",
    )
    queries_at_once_per_server: int = _key(
        "queries.at_once_per_server",
        128,
        "queries",
        1,
        100_000,
        "queries that a server has under way",
        "history",
    )
    audit_rate: float = _key(
        "audit.rate",
        2_000.0,
        "records/s",
        0,
        1e6,
        "records of the log that a server compares with the history all the time; 0: none",
        "materialize",
    )
    connect_backoff_base_s: float = _key(
        "connect.backoff.base", 0.1, "s", 0.01, 60, "a client's first wait to reconnect", "connect"
    )
    connect_backoff_factor: float = _key(
        "connect.backoff.factor", 2.0, "", 1, 10, "each further wait is longer by this", "connect"
    )
    connect_backoff_max_s: float = _key(
        "connect.backoff.max", 5.0, "s", 0.1, 600, "the longest wait", "connect"
    )
    connect_backoff_jitter: float = _key(
        "connect.backoff.jitter", 0.5, "", 0, 1, "the part of a wait that is random", "connect"
    )
    drain_spread_s: float = _key(
        "drain.spread_s", 2.0, "s", 0, 300, "sessions of a stopping server are sent away over this"
    )
    log_level: str = _key(
        "log.level", "info", "", 0, 0, f"one of {', '.join(LOG_LEVELS)}", "every server"
    )
    scale_messaging_min: int = _scale("messaging.min", 2, "servers", "never fewer run")
    scale_messaging_max: int = _scale("messaging.max", 8, "servers", "never more run")
    scale_messaging_target: float = _scale(
        "messaging.target", 5000.0, "sessions", "connections that one server should have"
    )
    scale_messaging_target_sends: float = _scale(
        "messaging.target_sends", 500.0, "sends/s", "sends that one server should take"
    )
    scale_messaging_cooldown_s: float = _scale(
        "messaging.cooldown_s", 60.0, "s", "between two changes"
    )
    scale_materialize_min: int = _scale("materialize.min", 2, "servers", "never fewer run")
    scale_materialize_max: int = _scale("materialize.max", 8, "servers", "never more run")
    scale_materialize_target: float = _scale(
        "materialize.target", 2000.0, "rows/s", "messages that one server should write"
    )
    scale_materialize_lag_max: float = _scale(
        "materialize.lag_max",
        20000.0,
        "records",
        "one more server where a partition is further behind",
    )
    scale_materialize_cooldown_s: float = _scale(
        "materialize.cooldown_s", 60.0, "s", "between two changes"
    )
    scale_history_min: int = _scale("history.min", 2, "servers", "never fewer run")
    scale_history_max: int = _scale("history.max", 8, "servers", "never more run")
    scale_history_target: float = _scale(
        "history.target", 200.0, "requests/s", "queries that one server should answer"
    )
    scale_history_latency_max_ms: float = _scale(
        "history.latency_max_ms",
        100.0,
        "ms",
        "one more server where a query takes longer on average",
    )
    scale_history_cooldown_s: float = _scale("history.cooldown_s", 60.0, "s", "between two changes")
    scale_connect_min: int = _scale("connect.min", 1, "servers", "never fewer run")
    scale_connect_max: int = _scale("connect.max", 8, "servers", "never more run")
    scale_connect_target: float = _scale(
        "connect.target", 500.0, "requests/s", "lookups that one server should answer"
    )
    scale_connect_cooldown_s: float = _scale("connect.cooldown_s", 60.0, "s", "between two changes")
    trace_ratio: float = _key(
        "trace.ratio", 0.01, "", 0, 1, "part of messages and calls that is traced", "every server"
    )
    trace_forced_rate: float = _key(
        "trace.forced_rate",
        10.0,
        "traces/s",
        0,
        1e6,
        "traces that clients may ask for",
        "every server",
    )
    trace_slow_ms: float = _key(
        "trace.slow_ms",
        1_000.0,
        "ms",
        1,
        1e6,
        "a message that takes longer to be accepted, or to be in the history, is traced",
        "messaging, materialize",
    )
    control_paused: bool = _key(
        "control.paused", False, "", 0, 1, "control moves and scales nothing", "control"
    )


KEYS: dict[str, tuple[str, Key, Any]] = {
    f.metadata["key"].name: (f.name, f.metadata["key"], f.default) for f in fields(Config)
}
"""Key name -> (field of `Config`, key, default)."""


def parse(document: Any) -> Config:
    """The configuration that a document says. Raises `InvalidSettings` for an unknown key or a bad
    value.
    """
    if not isinstance(document, Mapping):
        raise InvalidSettings(f"the configuration is {document!r:.80}: use an object of keys")
    return Config(**{_known(name)[0]: check(name, value) for name, value in document.items()})


def _known(name: str) -> tuple[str, Key, Any]:
    if name not in KEYS:
        raise InvalidSettings(
            f"{name!r:.80} is no configuration key: use {closest(name) or 'a known one'}; "
            "`cecochat config get` lists all"
        )
    return KEYS[name]


def closest(name: object) -> str | None:
    """The key that somebody may have meant; None: none is like it."""
    return next(iter(get_close_matches(str(name)[:80], KEYS, n=1)), None)


def check(name: str, value: Any) -> Any:
    """The value as the key's type. Raises `InvalidSettings` where it has another type or is out of
    range.
    """
    _, key, default = _known(name)
    if isinstance(default, str):
        if value not in LOG_LEVELS:
            raise InvalidSettings(f"{name} is {value!r:.80}: use {key.meaning}")
        return value
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InvalidSettings(f"{name} is {value!r:.80}: use true or false")
        return value
    wanted = (int,) if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind = "a whole number" if wanted == (int,) else "a number"
        raise InvalidSettings(f"{name} is {value!r:.80}: use {kind} of {key.unit or 'no unit'}")
    if not key.low <= value <= key.high:  # NaN is refused too
        raise InvalidSettings(
            f"{name} is {value!r:.80}: use {key.low:.9g} to {key.high:.9g} {key.unit}"
        )
    return type(default)(value)


def from_text(name: str, text: str) -> Any:
    """The value that a person typed. Raises `InvalidSettings`."""
    default = _known(name)[2]
    if isinstance(default, str):
        return check(name, text)
    if isinstance(default, bool):
        return check(name, {"true": True, "false": False}.get(text.lower(), text))
    try:
        return check(name, int(text) if isinstance(default, int) else float(text))
    except ValueError as error:
        raise InvalidSettings(f"{name} is {text!r}: that is no number") from error
