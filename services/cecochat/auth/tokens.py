"""Who is calling: JSON Web Tokens (RFC 7519), the only source of an identity."""

from __future__ import annotations

import asyncio
import time
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.auth.keys import JwksFile, Keys
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.revocations import SID_MAX_BYTES, Revocations
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import UserId, user_id
from cecochat.v1 import errors_pb2

AUDIENCE = "cecochat"
LEEWAY_S = 0
SECRET_MIN_BYTES = 32  # RFC 7518, 3.2: as long as the hash
_TIME_MAX_S = 1 << 40
_ROUNDING_S = 1
_UNREADABLE = "the token is no JSON Web Token that can be read"


class Identity(NamedTuple):
    """A verified caller."""

    user_id: UserId
    expires_at_s: float  # s since 1970
    issued_at_s: float = 0.0  # s since 1970; the earliest that it can have been, where none is said
    sid: str = ""  # the login that the token belongs to, as the back end names it


def token_failures(registry: CollectorRegistry) -> Counter:
    """Counted by a verifier."""
    return Counter(
        "cecochat_token_failures",
        "Tokens that did not verify, by code; of the calls without one, the calls tell.",
        ["code"],
        registry=registry,
    )


def key_age(registry: CollectorRegistry) -> Gauge:
    """Set by a verifier."""
    return Gauge(
        "cecochat_token_keys_age_seconds",
        "How long ago the keys of tokens were last had from their URL; 0: they are in a file.",
        registry=registry,
    )


class Verifier:
    """Verifies tokens: HS256 with a secret (development), or RS256 and EdDSA with public keys.

    The keys may change by `kid` while servers run. The algorithm follows from the key, never from
    the token. `issuer`: whom `iss` must name; empty: anybody who has a key.
    """

    def __init__(
        self,
        *,
        secret: bytes | None = None,
        jwks_file: Path | None = None,
        keys: Keys | None = None,
        issuer: str = "",
        audience: str = AUDIENCE,
    ) -> None:
        if [secret, jwks_file, keys].count(None) != 2:
            raise InvalidSettings("set one of a token secret, a JWKS file and a JWKS URL")
        if secret is not None and len(secret) < SECRET_MIN_BYTES:
            raise InvalidSettings(
                f"the token secret has {len(secret)} bytes: use {SECRET_MIN_BYTES} random ones or "
                "more, or anybody can guess it"
            )
        self._secret = secret
        self._keys = JwksFile(jwks_file) if jwks_file else keys
        self._issuer = issuer
        self._audience = audience
        self._failures: Counter | None = None
        self._lifetime_max_s = Config().tokens_lifetime_max_s
        self._revoked: Revocations | None = Revocations()
        self.informed = asyncio.Event()  # it has been told what is revoked

    def counted(self, registry: CollectorRegistry) -> Verifier:
        """The same for one server, which counts what it refuses, and refuses everything until it is
        told what is revoked.
        """
        verifier = copy(self)
        verifier._failures = token_failures(registry)
        keys = self._keys
        key_age(registry).set_function(lambda: keys.age_s if keys else 0.0)
        verifier._revoked = None
        verifier.informed = asyncio.Event()
        return verifier

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._lifetime_max_s = config.tokens_lifetime_max_s

    def revoke(self, revoked: Revocations) -> None:
        """These are in force from now on, and no others."""
        self._revoked = revoked
        self.informed.set()

    def verify(self, token: str) -> Identity:
        """The identity that a token proves. Raises `Refusal` (unauthenticated, token_expired,
        token_revoked, or unavailable before this server knows what is revoked).
        """
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
        identity = Identity(
            _subject(claims["sub"]),
            _time_s("exp", claims["exp"]),
            self._issued_at_s(claims),
            _sid(claims.get("sid", "")),
        )
        self.check_revoked(identity)
        return identity

    def check_revoked(self, identity: Identity) -> None:
        """Raises `Refusal` where the token that proved this has been revoked since."""
        if self._revoked is None:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNAVAILABLE,
                "this server does not know yet which tokens are revoked: try again",
                1_000,
            )
        if identity.issued_at_s * 1_000 < self._revoked.before_ms(identity.user_id, identity.sid):
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_REVOKED,
                "the token has been revoked: log in again, then come back with a new one",
            )

    def _issued_at_s(self, claims: dict[str, Any]) -> float:
        """As early as it can have been, where the token does not say. Raises `Refusal` for one that
        holds longer than a revocation is kept.
        """
        expires_at_s = _time_s("exp", claims["exp"])
        issued_at_s = _time_s("iat", claims["iat"]) if "iat" in claims else None
        lives_s = expires_at_s - (time.time() if issued_at_s is None else issued_at_s)
        if lives_s > self._lifetime_max_s + _ROUNDING_S:
            raise _unauthenticated(
                f"the token holds for {lives_s:.0f} s, and {self._lifetime_max_s} s are the most "
                "(tokens.lifetime_max_s)"
            )
        return expires_at_s - self._lifetime_max_s if issued_at_s is None else issued_at_s

    def _claims(self, token: str) -> dict[str, Any]:
        key, algorithm = self._key(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer or None,
            leeway=LEEWAY_S,
            # `iat` decides nothing (RFC 7519, 4.1.6): a server whose clock is behind serves too.
            options={
                "require": ["exp", "sub", "aud", *(["iss"] if self._issuer else [])],
                "verify_iat": False,
            },
        )
        return claims

    def _key(self, token: str) -> tuple[Any, str]:
        if self._secret is not None:
            return self._secret, "HS256"
        assert self._keys
        kid = jwt.get_unverified_header(token).get("kid")
        if (key := self._keys.find(kid)) is None:
            raise _unauthenticated(f"no key here has the token's kid {str(kid)[:80]!r}")
        return key, key.algorithm_name


def _time_s(claim: str, value: Any) -> float:
    """A NumericDate. JSON knows numbers of any length, and this one infinity as well."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) < _TIME_MAX_S:
        return float(value)
    raise _unauthenticated(f"the token's {claim} is no time in seconds since 1970")


def _sid(value: Any) -> str:
    if isinstance(value, str) and len(value.encode(errors="replace")) <= SID_MAX_BYTES:
        return value
    raise _unauthenticated(f"the token's sid is no text of at most {SID_MAX_BYTES} bytes")


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
    claims = {"sub": user_id(user), "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode(claims, secret, algorithm="HS256")
