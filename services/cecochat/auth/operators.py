"""Makes and verifies the tokens with which operators and servers ask internal listeners.

They are JSON Web Tokens (RFC 7519) that the cluster's secret signs. Users' tokens are no use there.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import jwt

from cecochat.auth.tokens import SECRET_MIN_BYTES
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.settings import backends, private, tls
from cecochat.settings.settings import PREFIX, Settings
from cecochat.v1 import errors_pb2

AUDIENCE = "cecochat-operators"
NAME_MAX_BYTES = 128
SECRET_FILE = f"{PREFIX}CLUSTER_SECRET_FILE"
MINT = "cecochat token --operator NAME"

Scope = Literal["metrics", "read", "people", "change", "pass_on"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a token may allow.

- `metrics`: what servers count.
- `read`: what they own, follow, decide and lack.
- `people`: who talks to whom and from where, and texts.
- `change`: revoking tokens, comparing the history with the log, and writing its rows again.
- `pass_on`: sends in the name of any user. Servers need it among each other, and nobody else.
"""
FOR_OPERATORS: Final = tuple(each for each in SCOPES if each != "pass_on")
ANYBODY: Final = "anybody"
"""What a route declares instead of a scope if it needs no token."""


class Operator(NamedTuple):
    """A verified caller."""

    name: str
    scopes: frozenset[str]


def cluster_secret(settings: Settings) -> bytes:
    """Return the secret that the servers and operators of a cluster share.

    Raises `InvalidSettings` if the file is missing: nobody else would have a secret made here.
    """
    return _shared(settings.cluster_secret, SECRET_FILE)


def keys_secret(settings: Settings) -> bytes:
    """Return the secret that encrypts the keys of users. Raises what `cluster_secret` raises."""
    path = settings.keys_secret_file
    if path is None and not backends.is_shared("keys", settings):
        return private.drawn_secret(settings.data_dir / "keys-secret")
    return _shared(path or settings.cluster_secret, f"{PREFIX}KEYS_SECRET_FILE")


def _shared(path: Path, variable: str) -> bytes:
    if not path.exists():
        raise InvalidSettings(
            f"{variable}: {path} does not exist. All servers and operators of a cluster share "
            f"this secret: copy the file, or make one with openssl rand -hex 32 > {path}"
        )
    found = (tls.secret(path) or "").strip().encode()
    if len(found) < SECRET_MIN_BYTES:
        raise InvalidSettings(
            f"the secret in {path} has fewer than {SECRET_MIN_BYTES} bytes, and can be guessed: "
            f"make one with openssl rand -hex 32 > {path} for all servers and operators of the "
            "cluster"
        )
    return found


class Operators:
    """Makes and verifies tokens. Raises `InvalidSettings` if the secret is too short."""

    def __init__(self, secret: bytes) -> None:
        secret = secret.strip()
        if len(secret) < SECRET_MIN_BYTES:
            raise InvalidSettings(
                f"the cluster's secret has only {len(secret)} bytes, so it can be guessed: put at "
                f"least {SECRET_MIN_BYTES} random bytes into the file that {SECRET_FILE} names"
            )
        # A key of its own, so that nothing else that the secret signs can pass for a token.
        self._key = hmac.digest(secret, AUDIENCE.encode(), "sha256")

    def mint(self, name: str, scopes: Iterable[Scope], lifetime_s: float) -> str:
        """Make a token for an operator or a server."""
        now = time.time()
        claims = {"sub": name, "aud": AUDIENCE, "iat": now, "exp": now + lifetime_s}
        return jwt.encode({**claims, "scope": " ".join(scopes)}, self._key, algorithm="HS256")

    def verify(self, token: str) -> Operator:
        """Return whose token this is. Raises `Refusal` (unauthenticated, token_expired)."""
        if not token.isascii():  # HTTP headers may hold what cannot even be encoded
            raise _unauthenticated("the token cannot be read")
        try:
            claims = self._claims(token)
        except jwt.ExpiredSignatureError:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
                f"the operator's token has expired: get another one with `{MINT}`, and check that "
                "the clocks agree",
            ) from None
        except jwt.InvalidSignatureError:
            raise _unauthenticated(
                "the token was not made with the secret of this cluster, which is in the file that "
                f"{SECRET_FILE} names"
            ) from None
        except (jwt.PyJWTError, ValueError, OverflowError):
            raise _unauthenticated("the token is not an operator's token") from None
        return _operator(claims.get("sub"), claims.get("scope"))

    def _claims(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=["HS256"],
            audience=AUDIENCE,
            # A server whose clock is behind must serve, too.
            options={"require": ["exp", "sub", "aud"], "verify_iat": False},
        )
        return claims


def allow(caller: Operator, scope: str) -> None:
    """Raise `Refusal` (forbidden) if the caller's token does not have a scope."""
    if scope in caller.scopes:
        return
    if scope not in FOR_OPERATORS:
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            f"this needs the scope `{scope}`, which only servers give each other",
        )
    held = " ".join(sorted(caller.scopes)) or "none"
    raise Refusal(
        errors_pb2.ERROR_CODE_FORBIDDEN,
        f"this needs the scope `{scope}`, but the token of {caller.name} has {held}: get another "
        f"one with `{MINT} --scope {scope}`",
    )


def bearer(header: str | None) -> str:
    """Return the token in an `authorization` header. Raises `Refusal`."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("this is for operators, but there is no token")
    return token


def _operator(name: object, scope: object) -> Operator:
    if isinstance(name, str) and name and len(name.encode(errors="replace")) <= NAME_MAX_BYTES:
        return Operator(name, frozenset(scope.split()) if isinstance(scope, str) else frozenset())
    raise _unauthenticated(f"the token's sub is not a name of 1 to {NAME_MAX_BYTES} bytes")


def _unauthenticated(what: str) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAUTHENTICATED,
        f"{what}: send `authorization: Bearer <token>`, with a token of `{MINT}`",
    )
