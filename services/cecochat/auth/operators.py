"""Who may ask the internal listeners: operators, and servers among themselves, by tokens (JSON Web
Tokens, RFC 7519) that the secret of the cluster signs. Users' tokens are of no use there.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple, get_args

import jwt

from cecochat.auth.tokens import SECRET_MIN_BYTES
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.settings import tls
from cecochat.settings.settings import PREFIX, Settings
from cecochat.v1 import errors_pb2

AUDIENCE = "cecochat-operators"
NAME_MAX_BYTES = 128
SECRET_FILE = f"{PREFIX}CLUSTER_SECRET_FILE"
MINT = "cecochat token --operator NAME"

Scope = Literal["metrics", "read", "people", "change"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a token may be for: what servers count; what they own, follow, decide and lack; who talks to
whom and from where, and texts; revoking tokens, and comparing the history with the log.
"""
ANYBODY: Final = "anybody"
"""What a route declares in the place of a scope where it asks for no token."""


class Operator(NamedTuple):
    """A verified caller."""

    name: str
    scopes: frozenset[str]


def cluster_secret(settings: Settings) -> bytes:
    """What the servers and operators of a cluster share. Raises `InvalidSettings` where the file is
    not there: another one, made here, would be that of nobody else.
    """
    path = settings.cluster_secret
    if not path.exists():
        raise InvalidSettings(
            f"{SECRET_FILE}: {path} is not there. All servers and operators of a cluster have the "
            f"same: copy it, or make one with openssl rand -hex 32 > {path}"
        )
    found = (tls.secret(path) or "").strip().encode()
    if len(found) < SECRET_MIN_BYTES:
        raise InvalidSettings(
            f"the secret in {path} has under {SECRET_MIN_BYTES} bytes, which can be guessed: "
            f"openssl rand -hex 32 > {path}, for all servers and operators of the cluster"
        )
    return found


class Operators:
    """Makes and verifies their tokens. Raises `InvalidSettings` for a secret that is too short."""

    def __init__(self, secret: bytes) -> None:
        secret = secret.strip()
        if len(secret) < SECRET_MIN_BYTES:
            raise InvalidSettings(
                f"the cluster's secret has {len(secret)} bytes: put {SECRET_MIN_BYTES} random ones "
                f"or more into the file that {SECRET_FILE} names, or anybody can guess it"
            )
        # Of its own, so that nothing else that the secret signs can pass for a token.
        self._key = hmac.digest(secret, AUDIENCE.encode(), "sha256")

    def mint(self, name: str, scopes: Iterable[Scope], lifetime_s: float) -> str:
        """A token for an operator or a server."""
        now = time.time()
        claims = {"sub": name, "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
        return jwt.encode({**claims, "scope": " ".join(scopes)}, self._key, algorithm="HS256")

    def verify(self, token: str) -> Operator:
        """Who has that token. Raises `Refusal` (unauthenticated, token_expired)."""
        if not token.isascii():  # HTTP headers may hold what cannot even be encoded
            raise _unauthenticated("the token cannot be read")
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
                f"the operator's token has expired: get another one with `{MINT}`, and look "
                "whether the clocks agree",
            ) from None
        except jwt.InvalidSignatureError:
            raise _unauthenticated(
                "the token was not made with the secret of this cluster, which all its servers and "
                f"operators have in the file that {SECRET_FILE} names"
            ) from None
        except (jwt.PyJWTError, ValueError, OverflowError):
            raise _unauthenticated("the token is none of an operator") from None
        return _operator(claims.get("sub"), claims.get("scope"))

    def _claims(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=["HS256"],
            audience=AUDIENCE,
            # A server whose clock is behind serves too.
            options={"require": ["exp", "sub", "aud"], "verify_iat": False},
        )
        return claims


def allow(caller: Operator, scope: str) -> None:
    """Raises `Refusal` (forbidden) where the caller's token is not for that."""
    if scope in caller.scopes:
        return
    held = " ".join(sorted(caller.scopes)) or "none"
    raise Refusal(
        errors_pb2.ERROR_CODE_FORBIDDEN,
        f"this needs the scope `{scope}`, and the token of {caller.name} has {held}: get another "
        f"one with `{MINT} --scope {scope}`",
    )


def bearer(header: str | None) -> str:
    """The token in an `authorization` header. Raises `Refusal`."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("this is for operators, and there is no token")
    return token


def _operator(name: object, scope: object) -> Operator:
    if isinstance(name, str) and name and len(name.encode(errors="replace")) <= NAME_MAX_BYTES:
        return Operator(name, frozenset(scope.split()) if isinstance(scope, str) else frozenset())
    raise _unauthenticated(f"the token's sub is no name of 1 to {NAME_MAX_BYTES} bytes")


def _unauthenticated(what: str) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAUTHENTICATED,
        f"{what}: send `authorization: Bearer <token>`, with one of `{MINT}`",
    )
