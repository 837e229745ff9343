"""Reads the document of the central configuration, and what people type for its keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NamedTuple

from cecochat.domain.cluster.configuration import KEYS, LOG_LEVELS, Config
from cecochat.domain.cluster.keys import Key
from cecochat.domain.cluster.limits import APP_KEYS
from cecochat.domain.cluster.media import media_types
from cecochat.domain.cluster.origins import origins
from cecochat.domain.errors import Invalid, InvalidSettings
from cecochat.domain.log.ids import app_name

APP_PREFIX = "app."


class Named(NamedTuple):
    """A key, the field of `Config` that it is, its default, and the app that it is for; "": all."""

    app: str
    field: str
    key: Key
    default: Any


def parse(document: Any) -> Config:
    """Read the configuration from its document. Raises `InvalidSettings` for an unknown key or a
    bad value.
    """
    if not isinstance(document, Mapping):
        raise InvalidSettings(f"the configuration is {document!r:.80}: use an object of keys")
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in document.items():
        key = named(name)
        found[key.app][key.field] = check(name, value)
    config = Config(**found.pop("", {}))
    return replace(config, apps={app: replace(config, **own) for app, own in found.items()})


def named(name: Any) -> Named:
    """Return the key of that name, or, for `app.NAME.KEY`, that key for one app. Raises
    `InvalidSettings`.
    """
    app, key = _split(name)
    if key not in KEYS:
        near = closest(key)
        use = str(name).removesuffix(str(key)) + near if near else "one that exists"
        raise InvalidSettings(
            f"{name!r:.80} is no configuration key: use {use}; `cecochat config get` lists them all"
        )
    if app and key not in APP_KEYS:
        raise InvalidSettings(
            f"{key} cannot be set for an app: set it for all, as {key}, or use one of "
            f"{', '.join(APP_KEYS)}"
        )
    return Named(app, *KEYS[key])


def _split(name: Any) -> tuple[str, Any]:
    if not isinstance(name, str) or not name.startswith(APP_PREFIX):
        return "", name
    app, _, key = name.removeprefix(APP_PREFIX).partition(".")
    try:
        return app_name(app), key
    except Invalid as refusal:
        raise InvalidSettings(f"the key {name[:80]!r}: {refusal.message}") from None


def closest(name: object) -> str | None:
    """Return the key that somebody may have meant, or None if none is similar."""
    return next(iter(get_close_matches(str(name)[:80], KEYS, n=1)), None)


def check(name: str, value: Any) -> Any:
    """Return the value, converted to the key's type. Raises `InvalidSettings` if it has another
    type or is out of range.
    """
    _, _, key, default = named(name)
    if key.name == "web.origins":
        origins(value)
        return value
    if key.name == "attachments.types":
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
    default = named(name).default
    if isinstance(default, str):
        return check(name, text)
    if isinstance(default, bool):
        return check(name, {"true": True, "false": False}.get(text.lower(), text))
    try:
        return check(name, int(text) if isinstance(default, int) else float(text))
    except ValueError as error:
        raise InvalidSettings(f"{name} is {text!r}, which is not a number: use a number") from error
