"""Reads the document of the central configuration, and what people type for its keys."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from cecochat.domain.cluster.configuration import KEYS, LOG_LEVELS, Config
from cecochat.domain.cluster.keys import Key
from cecochat.domain.cluster.media import media_types
from cecochat.domain.cluster.origins import origins
from cecochat.domain.errors import InvalidSettings


def parse(document: Any) -> Config:
    """Read the configuration from its document. Raises `InvalidSettings` for an unknown key or a
    bad value.
    """
    if not isinstance(document, Mapping):
        raise InvalidSettings(f"the configuration is {document!r:.80}: use an object of keys")
    return Config(**{_key_of(name)[0]: check(name, value) for name, value in document.items()})


def _key_of(name: str) -> tuple[str, Key, Any]:
    if name not in KEYS:
        raise InvalidSettings(
            f"{name!r:.80} is no configuration key: use {closest(name) or 'one that exists'}; "
            "`cecochat config get` lists them all"
        )
    return KEYS[name]


def closest(name: object) -> str | None:
    """Return the key that somebody may have meant, or None if none is similar."""
    return next(iter(get_close_matches(str(name)[:80], KEYS, n=1)), None)


def check(name: str, value: Any) -> Any:
    """Return the value, converted to the key's type. Raises `InvalidSettings` if it has another
    type or is out of range.
    """
    _, key, default = _key_of(name)
    if name == "web.origins":
        origins(value)
        return value
    if name == "attachments.types":
        media_types(value)
        return value
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
    """Read the value of a key as a person typed it. Raises `InvalidSettings`."""
    default = _key_of(name)[2]
    if isinstance(default, str):
        return check(name, text)
    if isinstance(default, bool):
        return check(name, {"true": True, "false": False}.get(text.lower(), text))
    try:
        return check(name, int(text) if isinstance(default, int) else float(text))
    except ValueError as error:
        raise InvalidSettings(f"{name} is {text!r}, which is not a number: use a number") from error
