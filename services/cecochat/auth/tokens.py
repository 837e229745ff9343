"""Verifies JSON Web Tokens (RFC 7519), which are the only source of an identity."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.auth.apps import KnownApps
from cecochat.auth.claims import (
    Named,
    check_ahead,
    named,
    scopes,
    sid,
    subject,
    time_s,
    unauthenticated,
)
from cecochat.auth.keys import JwksFile, Keys
from cecochat.auth.minting import AUDIENCE, FOR_SERVICES
from cecochat.domain.cluster.apps import Apps
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import UserId, app_of
from cecochat.domain.moderation.rules import Rules
from cecochat.v1 import errors_pb2

LEEWAY_S = 0
KNOWN_MAX = 1_000
"""How many tokens a verifier remembers; the least recently used goes first. To check a signature
again takes an eighth of what a query costs.
"""
SECRET_MIN_BYTES = 32  # as long as the hash (RFC 7518, section 3.2)
_ROUNDING_S = 1
_UNREADABLE = "the token is not a readable JSON Web Token"


class Identity(NamedTuple):
    """A verified caller."""

    user_id: UserId
    expires_at_s: float  # s since 1970
    issued_at_s: float = 0.0  # s since 1970; the earliest possible if the token does not say
    sid: str = ""  # the login that the token belongs to, as the back end names it
    scopes: frozenset[str] = frozenset()  # what a service may do

    @property
    def account(self) -> UserId:
        """Whose limits hold for a service: all those of an app share them, as it may name as many
        as it likes.
        """
        return UserId(app_of(self.user_id) or self.user_id)


class Known(NamedTuple):
    """A token whose signature and claims were found good with this key."""

    said: Named
    by: _Key
    claims: dict[str, Any]


class _Key(NamedTuple):
    """The key that a token has to be signed with, and the `iss` that it has to name then."""

    key: Any
    algorithm: str
    issuer: str


def token_failures(registry: CollectorRegistry) -> Counter:
    """Add the counter that a verifier increments."""
    return Counter(
        "cecochat_token_failures",
        "Tokens that could not be verified, by code. Calls without any token are not counted.",
        ["code"],
        registry=registry,
    )


def key_age(registry: CollectorRegistry) -> Gauge:
    """Add the gauge that a verifier sets."""
    return Gauge(
        "cecochat_token_keys_age_seconds",
        "How long ago the keys of tokens were fetched from their URL; 0 if they are in a file.",
        registry=registry,
    )


class Verifier:
    """Verifies tokens: HS256 with a secret (in development), or RS256 and EdDSA with public keys.

    The keys may change by `kid` while servers run. The algorithm follows from the key, never from
    the token. `iss` must name the `issuer`, unless that is empty.
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
            raise InvalidSettings("set exactly one of a token secret, a JWKS file and a JWKS URL")
        if secret is not None and len(secret) < SECRET_MIN_BYTES:
            raise InvalidSettings(
                f"the token secret has only {len(secret)} bytes, so it can be guessed: use at "
                f"least {SECRET_MIN_BYTES} random bytes"
            )
        self._secret = secret
        self._keys = JwksFile(jwks_file) if jwks_file else keys
        self._issuer = issuer
        self._audience = audience
        self._failures: Counter | None = None
        self._known: OrderedDict[str, Known] = OrderedDict()  # by token, the last used at the end
        self._lifetime_max_s = Config().tokens_lifetime_max_s
        self._revoked: Revocations | None = Revocations()
        self._rules: Rules | None = Rules()
        self._apps: KnownApps | None = KnownApps({})
        self.informed = asyncio.Event()  # set once it knows apps, bans and what is revoked

    def counted(self, registry: CollectorRegistry) -> Verifier:
        """Return a verifier for one server, which counts what it refuses.

        It refuses everything until it knows which apps there are, what is revoked, and who is
        banned. The servers of a process check the signature of a token once.
        """
        verifier = copy(self)
        verifier._failures = token_failures(registry)
        keys = self._keys
        key_age(registry).set_function(lambda: keys.age_s if keys else 0.0)
        verifier._revoked = verifier._rules = verifier._apps = None
        verifier.informed = asyncio.Event()
        return verifier

    def for_services(self) -> Verifier:
        """Return a verifier of the tokens of services, which are signed with the same keys. What is
        revoked of users does not concern them.
        """
        verifier = copy(self)
        verifier._audience = FOR_SERVICES
        verifier._known = OrderedDict()
        verifier._revoked, verifier._rules = Revocations(), Rules()
        verifier.informed = asyncio.Event()
        return verifier

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._lifetime_max_s = config.tokens_lifetime_max_s

    def revoke(self, revoked: Revocations) -> None:
        """Replace the revocations that are in force."""
        self._revoked = revoked
        self._look_whether_informed()

    def moderate(self, rules: Rules) -> None:
        """Replace the rules that say who is banned."""
        self._rules = rules
        self._look_whether_informed()

    def know(self, apps: Apps) -> None:
        """Replace the apps that there are."""
        self._apps = KnownApps(apps)
        self._look_whether_informed()

    def _look_whether_informed(self) -> None:
        if None not in (self._revoked, self._rules, self._apps):
            self.informed.set()

    def verify(self, token: str) -> Identity:
        """Return the identity that a token proves.

        Raises `Refusal` (unauthenticated, token_expired, token_revoked, or unavailable: if it was
        issued in the future, or until this server knows what is revoked).
        """
        try:
            return self._verified(token)
        except Refusal as refusal:
            if self._failures:
                self._failures.labels(refusal.name).inc()
            raise

    def _verified(self, token: str) -> Identity:
        if not token.isascii():  # HTTP headers may hold what cannot even be encoded
            raise unauthenticated(_UNREADABLE)
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
                "the token has expired: get a new one, then come back",
            ) from None
        except jwt.InvalidSignatureError:
            raise unauthenticated("the token is not signed with this system's key") from None
        except jwt.DecodeError:  # its message is about the parser, and would help nobody
            raise unauthenticated(_UNREADABLE) from None
        except jwt.PyJWTError as error:
            raise unauthenticated(f"the token cannot be verified ({error})") from None
        identity = Identity(
            subject(claims),
            time_s("exp", claims["exp"]),
            self._issued_at_s(claims),
            sid(claims.get("sid", "")),
            scopes(claims.get("scope", "")) if self._is_for_services else frozenset(),
        )
        self.check_revoked(identity)
        return identity

    def check_revoked(self, identity: Identity) -> None:
        """Raise `Refusal` if the token that proved an identity has been revoked since, or if its
        user is banned, or its app disabled.
        """
        if self._revoked is None or self._rules is None:
            raise _uninformed()
        self._known_apps.check(app_of(identity.user_id))
        self._rules.check_banned(identity.user_id, int(time.time() * 1_000))
        if identity.issued_at_s * 1_000 < self._revoked.before_ms(identity.user_id, identity.sid):
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_REVOKED,
                "the token has been revoked: log in again, then come back with a new one",
            )

    @property
    def _is_for_services(self) -> bool:
        """Whether scopes mean anything: identity providers give users some of their own."""
        return self._audience == FOR_SERVICES

    def _issued_at_s(self, claims: dict[str, Any]) -> float:
        """Return when a token was issued, or the earliest possible time if it does not say.

        Raises `Refusal` if the token is valid for longer than a revocation is kept, or if it was
        issued in the future, where no revocation would reach it.
        """
        expires_at_s = time_s("exp", claims["exp"])
        issued_at_s = time_s("iat", claims["iat"]) if "iat" in claims else None
        check_ahead((issued_at_s or 0) - time.time())
        lives_s = expires_at_s - (time.time() if issued_at_s is None else issued_at_s)
        if lives_s > self._lifetime_max_s + _ROUNDING_S:
            raise unauthenticated(
                f"the token is valid for {lives_s:.0f} s, and the limit is {self._lifetime_max_s} "
                "s (tokens.lifetime_max_s)"
            )
        return expires_at_s - self._lifetime_max_s if issued_at_s is None else issued_at_s

    @property
    def _known_apps(self) -> KnownApps:
        if self._apps is None:
            raise _uninformed()
        return self._apps

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a good token. One that is known only has to be in time, and its key
        still in force.
        """
        known = self._known.get(token)
        if known and int(known.claims["exp"]) > time.time() and known.by == self._key(known.said):
            self._known.move_to_end(token)
            return known.claims
        self._known.pop(token, None)
        checked = self._check(token)
        self._known[token] = checked
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return checked.claims

    def _check(self, token: str) -> Known:
        said = named(token)
        by = self._key(said)
        claims: dict[str, Any] = jwt.decode(
            token,
            by.key,
            algorithms=[by.algorithm],
            audience=self._audience,
            issuer=by.issuer or None,
            leeway=LEEWAY_S,
            # `iat` is compared above: a token from the future can be repeated once clocks agree.
            options={
                "require": ["exp", "sub", "aud", *(["iss"] if by.issuer else [])],
                "verify_iat": False,
            },
        )
        return Known(said, by, claims)

    def _key(self, said: Named) -> _Key:
        """Return what has to have signed a token. The tokens of an app with keys of its own are
        verified by these alone, and they verify those of no other app.
        """
        apps = self._known_apps
        if (own := apps.keys_of(said.app)) is not None:
            key, issuer = own.get(said.kid), apps.issuer_of(said.app)
        elif self._secret is not None:
            return _Key(self._secret, "HS256", self._issuer)
        else:
            assert self._keys
            key, issuer = self._keys.find(said.kid), self._issuer
        if key is None:
            raise unauthenticated(f"this server has no key with the token's kid {said.kid[:80]!r}")
        return _Key(key, key.algorithm_name, issuer)


def bearer(header: str | None) -> str:
    """Return the token in an `authorization` header or metadata value. Raises `Refusal`."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAUTHENTICATED,
            "there is no token: send `authorization: Bearer <token>`",
        )
    return token


def _uninformed() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        "this server does not know yet which apps there are, which tokens are revoked and who is "
        "banned: try again",
        1_000,
    )
