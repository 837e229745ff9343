"""Reads the public keys that verify tokens from a JSON Web Key Set (RFC 7517), and checks them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jwt

from cecochat.domain.errors import InvalidSettings

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "EdDSA")
RSA_BITS_MIN = 2_048  # RFC 7518, section 3.3; NIST SP 800-131A
SET_MAX_BYTES = 1 << 20
_LOOK_S = 1.0
_SECRET = {"d": "a private key", "k": "a shared secret"}
"""The members that a public key must not have -> what the key is if it has one."""


class Keys(Protocol):
    """The source of a verifier's keys, which may change while it runs."""

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """Return the key with an id, or None if there is none.

        Raises `Refusal` (unavailable) if it is not known yet whether there is one.
        """

    @property
    def age_s(self) -> float:
        """How long ago the keys were last known to be up to date, in seconds."""


class KeySet(NamedTuple):
    """The usable keys by `kid`, and the reasons why the others are unusable."""

    keys: Mapping[str, jwt.PyJWK]
    wrong: tuple[str, ...]


def read_set(content: bytes) -> KeySet:
    """Read a key set. Raises ValueError with the reason if it is not one."""
    keys: dict[str, jwt.PyJWK] = {}
    wrong = []
    for raw in _members(content):
        try:
            kid = _kid(raw, keys)
            keys[kid] = _public_key(kid, raw)
        except ValueError as error:
            wrong.append(str(error))
    return KeySet(keys, tuple(wrong))


def _members(content: bytes) -> list[Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error!s:.80})") from None
    match document:
        case {"keys": list(members)}:
            return members
    raise ValueError('it is not a JWKS: use an object {"keys": [...]}')


def _kid(raw: Any, earlier: Mapping[str, Any]) -> str:
    match raw:
        case {"kid": str(kid)} if kid and kid not in earlier:
            return kid
        case {"kid": str(kid)} if kid:
            raise ValueError(f"two keys have the kid {kid!r:.80}: give each key a kid of its own")
    raise ValueError("a key has no kid: give it an id, which tokens name in their header")


def _public_key(kid: str, raw: Mapping[str, Any]) -> jwt.PyJWK:
    """Return a key that can verify signatures. Errors never repeat the key: it may be secret."""
    name = f"key {kid!r:.80}"
    for member, what in _SECRET.items():
        if member in raw:
            raise ValueError(
                f"{name} is {what}: whoever has read it can sign tokens for anybody. Replace it by "
                "a new pair of keys, and publish only the public one"
            )
    if raw.get("use", "sig") != "sig":
        raise ValueError(f"{name} has use {raw['use']!r:.20}: only keys with use 'sig' sign tokens")
    operations = raw.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError(f"{name} has key_ops without 'verify': it is not for verifying tokens")
    return _strong(name, _parsed(name, raw))


def _parsed(name: str, raw: Mapping[str, Any]) -> jwt.PyJWK:
    try:
        key = jwt.PyJWK(dict(raw))
        algorithm = key.algorithm_name
    except NotImplementedError:  # `none`
        algorithm = "none"
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name} cannot be read ({type(error).__name__}: {error!s:.80})") from None
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{name} is for {algorithm}: use a key for RS256 or EdDSA")
    return key


def _strong(name: str, key: jwt.PyJWK) -> jwt.PyJWK:
    bits = getattr(key.key, "key_size", RSA_BITS_MIN)  # only RSA keys have different sizes
    if bits < RSA_BITS_MIN:
        raise ValueError(f"{name} is too weak, with {bits} bits: use RSA of {RSA_BITS_MIN} or more")
    return key


class JwksFile:
    """The keys of a file, which is read again while servers run.

    A file that cannot be used stops a start. Later, it leaves the last good keys in force.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `InvalidSettings`."""
        self._path = path
        self._content: bytes | None = None
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._looked_s = 0.0
        self._wrong = ""  # the fault that has been logged already
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise InvalidSettings(f"the JWKS file {path} cannot be used: {error}") from None

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """Return a key, as `Keys.find` says.

        An unknown key may just have been added, so the file is then looked at sooner, but not for
        every such token.
        """
        look_s = _LOOK_S if kid in self._keys else _LOOK_S / 10
        if time.monotonic() - self._looked_s > look_s:
            self._look()
        return self._keys.get(kid or "")

    @property
    def age_s(self) -> float:
        """The age of the keys, which is always 0, since the file is at hand."""
        return 0.0

    def _look(self) -> None:
        try:
            self._read()
        except (OSError, ValueError) as error:
            if str(error) != self._wrong:
                self._wrong = str(error)
                log.warning(
                    "the JWKS file %s cannot be used, so the last keys stay in force: %s",
                    self._path,
                    error,
                )
        else:
            self._wrong = ""

    def _read(self) -> None:
        self._looked_s = time.monotonic()
        with self._path.open("rb") as file:
            content = file.read(SET_MAX_BYTES + 1)
        if content == self._content:
            return
        self._keys = _all(content)
        self._content = content


def _all(content: bytes) -> Mapping[str, jwt.PyJWK]:
    """Read all keys of a file. An operator can fix it, so one unusable key fails all of it."""
    if len(content) > SET_MAX_BYTES:
        raise ValueError(f"it has more than {SET_MAX_BYTES} bytes")
    keys, wrong = read_set(content)
    if wrong:
        raise ValueError("; ".join(wrong))
    return keys
