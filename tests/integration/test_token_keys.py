"""Which keys may verify tokens, and whose tokens they verify."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cecochat.auth.tokens import Verifier
from cecochat.domain.errors import InvalidSettings
from cecochat.settings.settings import load
from tests.integration import streams
from tests.integration.systems import running
from tests.integration.test_tokens import ED, RSA, code_of, public, signed, write_keys

WEAK = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - to be refused
PRIVATE = {**json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(ED)), "kid": "bad"}
PRIVATE_RSA = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA)), "kid": "bad"}
CURVE = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
SHARED = {"kid": "bad", "kty": "oct", "k": "c2VjcmV0"}

WRONG: dict[str, tuple[Mapping[str, Any], str]] = {
    "1,024 bits": (public("bad", WEAK), "too weak, with 1024 bits: use RSA of 2048 or more"),
    "for encryption": ({**public("bad", RSA), "use": "enc"}, "has use 'enc'"),
    "to sign with": ({**public("bad", RSA), "key_ops": ["sign"]}, "key_ops without 'verify'"),
    "key_ops of a word": ({**public("bad", RSA), "key_ops": "verify"}, "key_ops without 'verify'"),
    "a private key": (PRIVATE, "is a private key: whoever has read it can sign"),
    "a private RSA key": (PRIVATE_RSA, "is a private key: whoever has read it can sign"),
    "a shared secret": (SHARED, "is a shared secret: whoever has read it can sign"),
    "another algorithm": ({**json.loads(CURVE), "kid": "bad"}, "is for ES256"),
    "an algorithm of others": ({**public("bad", ED), "alg": "RS256"}, "cannot be read"),
    "no algorithm": ({**public("bad", RSA), "alg": "none"}, "is for none"),
    "cut off": ({"kid": "bad", "kty": "RSA", "n": "AQAB"}, "cannot be read"),
    "no kid": ({**public("bad", RSA), "kid": ""}, "a key has no kid"),
    "a kid twice": (public("good", RSA), "two keys have the kid 'good'"),
}


@pytest.mark.parametrize(("key", "why"), WRONG.values(), ids=WRONG)
def test_a_key_that_is_of_no_use_stops_a_start_and_changes_nothing_later(
    tmp_path: Path,
    key: Mapping[str, Any],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("cecochat.auth.keys._LOOK_S", 0.0)
    path = tmp_path / "jwks.json"
    write_keys(path, public("good", ED))
    verifier = Verifier(jwks_file=path)
    write_keys(path, public("good", ED), key)
    with pytest.raises(InvalidSettings, match="cannot be used") as stopped:
        Verifier(jwks_file=path)
    assert why in str(stopped.value)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            verifier.verify(signed("good", ED, "EdDSA"))
    (said,) = [each.message for each in caplog.records]  # once, however often it is looked at
    assert why in said
    for text in (said, str(stopped.value)):
        assert not any(secret in text for secret in _secrets(key)), "a key is told"


def _secrets(key: Mapping[str, Any]) -> list[str]:
    return [str(key[member]) for member in ("d", "p", "q", "k") if member in key]


def test_content_decides_whether_a_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that keeps the time, and two writes within one tick, look the same by their mtime."""
    monkeypatch.setattr("cecochat.auth.keys._LOOK_S", 0.0)
    path = tmp_path / "jwks.json"
    write_keys(path, public("old", RSA))
    verifier, before = Verifier(jwks_file=path), path.stat()
    path.write_text(json.dumps({"keys": [public("new", ED)]}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verifier.verify(signed("new", ED, "EdDSA")).user_id == "alice"
    assert code_of(lambda: verifier.verify(signed("old", RSA, "RS256"))) == "UNAUTHENTICATED"


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(InvalidSettings, match="more than 1048576 bytes"):
        Verifier(jwks_file=path)


@pytest.mark.parametrize("secret", [b"", b"\n", b"guess me"])
def test_a_secret_that_can_be_guessed_is_refused(secret: bytes) -> None:
    with pytest.raises(InvalidSettings, match="use at least 32 random bytes"):
        Verifier(secret=secret)


ISSUERS: dict[str, tuple[Callable[[], str], int]] = {
    "the right one": (lambda: signed("e1", ED, "EdDSA", iss="https://a.test", aud="chat"), 200),
    "another": (lambda: signed("e1", ED, "EdDSA", iss="https://b.test", aud="chat"), 401),
    "none": (lambda: signed("e1", ED, "EdDSA", aud="chat"), 401),
    "with a slash": (lambda: signed("e1", ED, "EdDSA", iss="https://a.test/", aud="chat"), 401),
    "several": (lambda: signed_by(["https://a.test"]), 401),
    "the usual audience": (lambda: signed("e1", ED, "EdDSA", iss="https://a.test"), 401),
}


def signed_by(issuer: object) -> str:
    """PyJWT itself refuses to write an `iss` that is no text."""
    header, _, signature = signed("e1", ED, "EdDSA").split(".")
    body = {"sub": "alice", "aud": "chat", "exp": time.time() + 600, "iss": issuer}
    payload = jwt.utils.base64url_encode(json.dumps(body).encode()).decode()
    signature = jwt.utils.base64url_encode(ED.sign(f"{header}.{payload}".encode())).decode()
    return f"{header}.{payload}.{signature}"


async def test_issuer_and_audience_are_checked_where_they_are_set(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    write_keys(path, public("e1", ED))
    checked: dict[str, Any] = {
        "token_issuer": "https://a.test",
        "token_audience": "chat",
        "jwks_file": path,
    }
    async with running(tmp_path / "data", **checked) as system, httpx.AsyncClient() as client:
        for name, (token, status) in ISSUERS.items():
            head = {"authorization": f"Bearer {token()}"}
            answer = await client.get(f"{system.addresses.connect}/v1/connect", headers=head)
            assert answer.status_code == status, (name, answer.text)
        refused = await streams.refused(system.addresses.messaging, ISSUERS["another"][0]())
        assert refused.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", ["TOKEN_ISSUER", "TOKEN_AUDIENCE"])
def test_an_issuer_is_not_said_of_development_tokens(tmp_path: Path, name: str) -> None:
    said = {f"CECOCHAT_{name}": "https://a.test"}
    with pytest.raises(InvalidSettings, match=f"CECOCHAT_{name} is for tokens of your back end"):
        load(said)
    load(said | {"CECOCHAT_JWKS_FILE": str(tmp_path / "jwks.json")})


def test_strong_keys_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    strong = {**public("r1", RSA), "use": "sig", "key_ops": ["verify"], "alg": "RS256"}
    fresh = ed25519.Ed25519PrivateKey.generate()
    write_keys(path, strong, {**public("e2", fresh), "use": "sig"})
    verifier = Verifier(jwks_file=path)
    assert verifier.verify(signed("r1", RSA, "RS256")).user_id == "alice"
    assert verifier.verify(signed("e2", fresh, "EdDSA")).user_id == "alice"
