"""The apps in force, and the keys that verify their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt

from cecochat.auth.keys import read_set
from cecochat.domain.cluster.apps import Apps, check
from cecochat.domain.errors import Invalid


class KnownApps:
    """What a verifier goes by."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps
        self._keys = {name: usable(each.keys)[0] for name, each in apps.items() if each.keys}

    def check(self, name: str) -> None:
        """Raise `Refusal` unless it is "", or an app that may be used now."""
        check(self._apps, name)

    def keys_of(self, name: str) -> Mapping[str, jwt.PyJWK] | None:
        """Return the keys of an app by their `kid`; None: those of the system sign its tokens."""
        return self._keys.get(name)

    def issuer_of(self, name: str) -> str:
        """Return what `iss` has to be in tokens that an app's own keys sign; "": anything."""
        return self._apps[name].issuer


def usable(keys: Mapping[str, Any]) -> tuple[Mapping[str, jwt.PyJWK], tuple[str, ...]]:
    """Return the keys of a key set that can be used, and what is wrong with the others."""
    try:
        return read_set(json.dumps(keys).encode())
    except ValueError as error:
        return {}, (str(error),)


def check_keys(keys: Mapping[str, Any]) -> None:
    """Raise `Invalid` unless all of these can be used."""
    if wrong := usable(keys)[1]:
        raise Invalid(f"the key set cannot be used: {'; '.join(wrong)}")
