"""Declares a setting as a field with a meaning, and parses the text of its variable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import Field, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cecochat.domain.errors import InvalidSettings

NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,31}")
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}

GONE = {
    "WEBSOCKET_ORIGINS": "pages are now named in the configuration, which servers follow while "
    "they run: `cecochat config set web.origins https://chat.example.com`",
}
"""Settings of earlier versions, as in `CECOCHAT_X` -> what replaces them."""


def setting(
    default: Any,
    meaning: str,
    low: int = 0,
    high: int = 1 << 53,
    choices: tuple[str, ...] = (),
    *,
    secret: bool = False,
    needs: str = "",
) -> Any:
    """Declare a field of `Settings`, or of the settings of a backend.

    `needs` names another setting without which this one would be unused. Otherwise a server that
    was meant to encrypt, or to log in, would silently not do so.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "needs": needs}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


def unknown(name: str, known: Iterable[str]) -> InvalidSettings:
    """Return the error about a name that no setting has."""
    near = get_close_matches(name[:80], known, n=1, cutoff=0.85)  # all begin alike
    meant = f"did you mean {near[0]}? " if near else ""
    return InvalidSettings(f"{name} is not a setting: {meant}docs/reference/settings.md has all")


def parse(variable: str, text: str, of: Field[Any]) -> Any:
    """Parse the text of a variable. Raises `InvalidSettings`, which names the variable."""
    if "Path" in str(of.type):
        return Path(text).expanduser() if text else None
    if of.type == "bool":
        if text.lower() not in TRUTH:
            raise InvalidSettings(f"{variable} is {text!r}: use true or false")
        return TRUTH[text.lower()]
    if of.name == "namespace" and not NAMESPACE.fullmatch(text):
        raise InvalidSettings(
            f"{variable} is {text!r}: use a letter, then letters, digits and _ (a-z)"
        )
    if (choices := of.metadata["choices"]) and text not in choices:
        raise InvalidSettings(f"{variable} is {text!r}: use one of {', '.join(choices)}")
    if of.type != "int":
        return text
    low, high = of.metadata["low"], of.metadata["high"]
    try:
        value = int(text)
    except ValueError:
        raise InvalidSettings(f"{variable} is {text!r}: use a whole number") from None
    if not low <= value <= high:
        raise InvalidSettings(f"{variable} is {value}: use {low} to {high}")
    return value
