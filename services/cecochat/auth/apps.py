"""The apps in force, and the keys that verify their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jwt

from cecochat.auth.keys import KeySet, read_set
from cecochat.domain.cluster.apps import APPS_MAX, Apps, check
from cecochat.domain.errors import Invalid


class KnownApps:
    """What a verifier goes by."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps
        self._keys = {name: usable(each.keys).keys for name, each in apps.items() if each.keys}

    def check(self, name: str) -> None:
        """Raise `Refusal` unless it is "", or an app that may be used now."""
        check(self._apps, name)

    def keys_of(self, name: str) -> Mapping[str, jwt.PyJWK] | None:
        """Return the keys of an app by their `kid`; None: those of the system sign its tokens."""
        return self._keys.get(name)

    def issuer_of(self, name: str) -> str:
        """Return what `iss` has to be in tokens that an app's own keys sign; "": anything."""
        return self._apps[name].issuer


def usable(keys: Mapping[str, Any]) -> KeySet:
    """Return the keys of a key set that can be used, and what is wrong with the others. As long as
    a set stays as it is, its keys are the same objects, so a token that was found good stays known.
    """
    return _read(json.dumps(keys).encode())


@lru_cache(maxsize=APPS_MAX)
def _read(content: bytes) -> KeySet:
    try:
        return read_set(content)
    except ValueError as error:
        return KeySet({}, (str(error),))


def check_keys(keys: Mapping[str, Any]) -> None:
    """Raise `Invalid` unless all of these can be used."""
    if wrong := usable(keys).wrong:
        raise Invalid(f"the key set cannot be used: {'; '.join(wrong)}")
