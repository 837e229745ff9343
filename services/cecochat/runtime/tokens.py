"""Who is calling: JSON Web Tokens (RFC 7519), the only source of an identity."""

from __future__ import annotations

import json
import logging
import secrets
import time
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from prometheus_client import CollectorRegistry, Counter

from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.ids import UserId, user_id
from cecochat.runtime import private
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

AUDIENCE = "cecochat"
LEEWAY_S = 0
_PUBLIC_KEY_ALGORITHMS = ("RS256", "EdDSA")
_JWKS_LOOK_S = 1.0
_UNREADABLE = "the token is no JSON Web Token that can be read"
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError)
"""What reading a JWKS file raises where it is missing, no JSON or none of RFC 7517."""


class Identity(NamedTuple):
    """A verified caller."""

    user_id: str
    expires_at_s: float  # s since 1970


def token_failures(registry: CollectorRegistry) -> Counter:
    """Counted by a verifier."""
    return Counter(
        "cecochat_token_failures",
        "Tokens that did not verify, by code; of the calls without one, the calls tell.",
        ["code"],
        registry=registry,
    )


class Verifier:
    """Verifies tokens: HS256 with a secret (development), or RS256 and EdDSA with the keys of a
    JWKS file (RFC 7517).

    The JWKS file is read again when it changes, so keys rotate by `kid` while servers run. The
    algorithm follows from the key, never from the token.
    """

    def __init__(self, *, secret: bytes | None = None, jwks_file: Path | None = None) -> None:
        if (secret is None) == (jwks_file is None):
            raise InvalidSettings("set either a token secret or CECOCHAT_JWKS_FILE")
        self._secret = secret
        self._jwks_file = jwks_file
        self._keys: dict[str, jwt.PyJWK] = {}
        self._changed_ns = 0
        self._looked_s = 0.0
        self._failures: Counter | None = None
        if jwks_file:
            try:
                self._read(jwks_file)
            except _UNUSABLE as error:
                raise InvalidSettings(
                    f"the JWKS file {jwks_file} cannot be used: {error!r}"
                ) from error

    def counted(self, registry: CollectorRegistry) -> Verifier:
        """The same for one server, which counts what it refuses."""
        verifier = copy(self)
        verifier._failures = token_failures(registry)
        return verifier

    def verify(self, token: str) -> Identity:
        """The identity that a token proves. Raises `Refusal` (unauthenticated, token_expired)."""
        try:
            return self._verified(token)
        except Refusal as refusal:
            if self._failures:
                self._failures.labels(refusal.name).inc()
            raise

    def _verified(self, token: str) -> Identity:
        if not token.isascii():  # HTTP headers may hold what cannot even be encoded
            raise _unauthenticated(_UNREADABLE)
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
                "the token has expired: get a new one, then come back",
            ) from None
        except jwt.InvalidSignatureError:
            raise _unauthenticated("the token is not signed with this system's key") from None
        except jwt.DecodeError:  # its own words tell how it was read, and help nobody
            raise _unauthenticated(_UNREADABLE) from None
        except jwt.PyJWTError as error:
            raise _unauthenticated(f"the token does not verify ({error})") from None
        return Identity(_subject(claims["sub"]), float(claims["exp"]))

    def _claims(self, token: str) -> dict[str, Any]:
        key, algorithm = self._key(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            leeway=LEEWAY_S,
            # `iat` decides nothing (RFC 7519, 4.1.6): a server whose clock is behind serves too.
            options={"require": ["exp", "sub", "aud"], "verify_iat": False},
        )
        return claims

    def _key(self, token: str) -> tuple[Any, str]:
        if self._secret is not None:
            return self._secret, "HS256"
        assert self._jwks_file
        kid = jwt.get_unverified_header(token).get("kid")
        # One that is not known may just have been added: look sooner, but not for each such token.
        look_s = _JWKS_LOOK_S if kid in self._keys else _JWKS_LOOK_S / 10
        if time.monotonic() - self._looked_s > look_s:
            self._reload(self._jwks_file)
        if kid not in self._keys:
            raise _unauthenticated(f"no key here has the token's kid {str(kid)[:80]!r}")
        return self._keys[kid], self._keys[kid].algorithm_name

    def _reload(self, path: Path) -> None:
        """A file that cannot be used leaves the last good keys in force."""
        try:
            self._read(path)
        except _UNUSABLE as error:
            log.warning("the JWKS file %s cannot be used, the last keys stay: %r", path, error)

    def _read(self, path: Path) -> None:
        self._looked_s = time.monotonic()
        changed_ns = path.stat().st_mtime_ns
        if changed_ns != self._changed_ns:
            self._keys = _keys(path)
            self._changed_ns = changed_ns


def _keys(path: Path) -> dict[str, jwt.PyJWK]:
    keys = {key["kid"]: jwt.PyJWK(key) for key in json.loads(path.read_text())["keys"]}
    for kid, key in keys.items():
        if key.algorithm_name not in _PUBLIC_KEY_ALGORITHMS:
            raise ValueError(
                f"key {kid!r} is for {key.algorithm_name}, not {_PUBLIC_KEY_ALGORITHMS}"
            )
    return keys


def _subject(sub: str) -> UserId:
    try:
        return user_id(sub)
    except Refusal as refusal:
        raise _unauthenticated(f"the token's sub: {refusal.message}") from None


def bearer(header: str | None) -> str:
    """The token in an `authorization` header or metadata value. Raises `Refusal`."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("no token")
    return token


def _unauthenticated(what: str) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAUTHENTICATED, f"{what}: send `authorization: Bearer <token>`"
    )


def mint(secret: bytes, user: str, lifetime_s: float) -> str:
    """A development token for a user."""
    now = time.time()
    claims = {"sub": user_id(user), "aud": AUDIENCE, "iat": int(now), "exp": now + lifetime_s}
    return jwt.encode(claims, secret, algorithm="HS256")


def development_secret(path: Path) -> bytes:
    """The secret in a file that only its owner may read; made where there is none, once, also by
    several servers that start together.
    """
    if not path.exists():
        private.make_folder(path.parent)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with private.opened(beside) as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            path.hardlink_to(beside)  # never an empty secret, which anybody could sign with
        beside.unlink()
    return path.read_text().encode()
