"""Who may come in and for how long: expiry, renewal, rotation of keys, and what is no token."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cecochat.auth.tokens import Verifier
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.messaging_pb2 import ClientFrame
from tests.integration import streams
from tests.integration.systems import running

RSA = rsa.generate_private_key(65_537, 2_048)
ED = ed25519.Ed25519PrivateKey.generate()
LIFETIME_S = 6.0  # of a token that is to end: a stream is opened before that on a busy machine, too


def public(kid: str, key: Any) -> dict[str, Any]:
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.OKPAlgorithm
    )  # fmt: skip
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid}


def claims(**others: Any) -> dict[str, Any]:
    return {"sub": "alice", "aud": "cecochat", "exp": time.time() + 3_600, **others}


def signed(kid: str, key: Any, algorithm: str, **others: Any) -> str:
    return jwt.encode(claims(**others), key, algorithm, headers={"kid": kid})


def write_keys(path: Path, *keys: Mapping[str, Any]) -> None:
    """Replaced in one piece, as a deployment does it."""
    write(path, json.dumps({"keys": keys}))


def write(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    before = path.stat().st_mtime_ns if path.exists() else 0
    os.utime(beside, ns=(before + 1_000_000_000, before + 1_000_000_000))
    beside.replace(path)


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file of keys at every token."""
    monkeypatch.setattr("cecochat.auth.keys._LOOK_S", 0.0)


@pytest.fixture
def keys(tmp_path: Path, quick_look: None) -> Path:
    path = tmp_path / "jwks.json"
    write_keys(path, public("r1", RSA), public("e1", ED))
    return path


def code_of(verify: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as refused:
        verify()
    return ErrorCode.Name(refused.value.error_code).removeprefix("ERROR_CODE_")


def test_rsa_and_eddsa_are_verified(keys: Path) -> None:
    verifier = Verifier(jwks_file=keys)
    assert verifier.verify(signed("r1", RSA, "RS256")).user_id == "alice"
    assert verifier.verify(signed("e1", ED, "EdDSA")).user_id == "alice"


def test_a_server_whose_clock_is_little_behind_takes_a_new_token(keys: Path) -> None:
    half_a_minute_on = signed("r1", RSA, "RS256", iat=time.time() + 30)
    assert Verifier(jwks_file=keys).verify(half_a_minute_on).user_id == "alice"


def test_a_token_of_the_future_is_not_taken_yet(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation of now would not reach it. It is refused again while it is known, and taken
    once it is no longer of the future.
    """
    verifier = Verifier(jwks_file=keys)
    issued_at_s = time.time() + 3_600
    of_the_future = signed("r1", RSA, "RS256", iat=issued_at_s, exp=issued_at_s + 900)
    service = {"aud": "cecochat-backend", "iat": issued_at_s, "exp": issued_at_s + 900}
    of_a_service = signed("r1", RSA, "RS256", **service)
    for _ in range(2):
        assert code_of(lambda: verifier.verify(of_the_future)) == "UNAVAILABLE"
        assert code_of(lambda: verifier.for_services().verify(of_a_service)) == "UNAVAILABLE"
    monkeypatch.setattr("cecochat.auth.tokens.time.time", lambda: issued_at_s)
    assert verifier.verify(of_the_future).user_id == "alice"


def test_keys_rotate_by_kid(keys: Path) -> None:
    verifier = Verifier(jwks_file=keys)
    fresh = ed25519.Ed25519PrivateKey.generate()
    token = signed("e2", fresh, "EdDSA")
    assert code_of(lambda: verifier.verify(token)) == "UNAUTHENTICATED"
    write_keys(keys, public("e1", ED), public("e2", fresh))
    assert verifier.verify(token).user_id == "alice"
    assert verifier.verify(signed("e1", ED, "EdDSA")).user_id == "alice"
    write_keys(keys, public("e2", fresh))
    assert code_of(lambda: verifier.verify(signed("e1", ED, "EdDSA"))) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "{}", '{"keys": 5}', '{"keys": [5]}', '{"keys": ["x"]}',
             '{"keys": [{}]}', '{"keys": [{"kid": "a", "kty": "oct", "k": "c2VjcmV0"}]}', "\udcff"],
)  # fmt: skip
def test_a_broken_file_keeps_the_last_keys_but_stops_a_start(keys: Path, text: str) -> None:
    verifier = Verifier(jwks_file=keys)
    write(keys, text.encode("utf-8", "surrogateescape").decode("latin-1"))
    assert verifier.verify(signed("r1", RSA, "RS256")).user_id == "alice"
    with pytest.raises(InvalidSettings, match=str(keys)):
        Verifier(jwks_file=keys)
    keys.unlink()
    assert verifier.verify(signed("r1", RSA, "RS256")).user_id == "alice"


def test_when_all_keys_are_withdrawn_a_broken_file_is_no_fault(keys: Path) -> None:
    verifier = Verifier(jwks_file=keys)
    write_keys(keys)
    token = signed("r1", RSA, "RS256")
    assert code_of(lambda: verifier.verify(token)) == "UNAUTHENTICATED"
    write(keys, "{")
    assert code_of(lambda: verifier.verify(token)) == "UNAUTHENTICATED"


def public_bytes(encoding: Encoding, form: PublicFormat) -> bytes:
    return RSA.public_key().public_bytes(encoding, form)


def by_hand(header: Mapping[str, Any], body: Mapping[str, Any], key: bytes) -> str:
    """PyJWT itself refuses to sign with a public key."""
    parts = [_base64(json.dumps(part).encode()) for part in (header, body)]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = mac.sign(".".join(parts).encode(), key)
    return ".".join([*parts, _base64(signature)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("kid", ["r1", "e1"])
def test_the_algorithm_follows_from_the_key(keys: Path, kid: str) -> None:
    verifier = Verifier(jwks_file=keys)
    for key in (
        public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(public(kid, RSA if kid == "r1" else ED)).encode(),
    ):
        token = by_hand({"alg": "HS256", "typ": "JWT", "kid": kid}, claims(), key)
        assert code_of(lambda token=token: verifier.verify(token)) == "UNAUTHENTICATED"  # type: ignore[misc]
    unsigned = jwt.encode(claims(), "", "none", headers={"kid": kid})
    assert code_of(lambda: verifier.verify(unsigned)) == "UNAUTHENTICATED"
    crossed = signed("r1", ED, "EdDSA")
    assert code_of(lambda: verifier.verify(crossed)) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"aud": "another"}, "UNAUTHENTICATED"),
        ({"aud": None}, "UNAUTHENTICATED"),
        ({"sub": None}, "UNAUTHENTICATED"),
        ({"sub": 5}, "UNAUTHENTICATED"),
        ({"sub": "a b"}, "UNAUTHENTICATED"),
        ({"exp": None}, "UNAUTHENTICATED"),
        ({"exp": "soon"}, "UNAUTHENTICATED"),
        ({"exp": 1}, "TOKEN_EXPIRED"),
        ({"nbf": 1e11}, "UNAUTHENTICATED"),
    ],
)
def test_claims_that_do_not_hold(keys: Path, wrong: dict[str, Any], code: str) -> None:
    body = {name: value for name, value in claims(**wrong).items() if value is not None}
    token = jwt.encode(body, ED, "EdDSA", headers={"kid": "e1"})
    assert code_of(lambda: Verifier(jwks_file=keys).verify(token)) == code


@pytest.mark.usefixtures("over_each")
async def test_a_token_ends_with_a_warning_and_a_typed_end(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        token = system.token("alice", LIFETIME_S)
        async with streams.caught_up(system.where, token) as alice:
            warning = (await alice.until("token_expiring")).token_expiring
            assert 0 < warning.expires_in_ms <= LIFETIME_S * 1_000
            ended = await alice.ended()
            assert ended.code == "TOKEN_EXPIRED"
            assert ended.error.retriable
        refused = await streams.refused(system.where, token)
        assert refused.code == "TOKEN_EXPIRED"


@pytest.mark.usefixtures("over_each")
async def test_a_renewed_token_keeps_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        token, expires_s = system.token("alice", LIFETIME_S), time.time() + LIFETIME_S
        async with streams.caught_up(system.where, token) as alice:
            await alice.until("token_expiring")
            await alice.write(ClientFrame(renewed_token=system.token("alice", 3_600)))
            # The time is the subject: the first token ends, and a server looks once a second.
            await asyncio.sleep(expires_s - time.time() + 1.1)
            await alice.send(streams.message("m", "d:alice~bob"))
            await alice.until_acks(1)


@pytest.mark.usefixtures("over_each")
async def test_a_withdrawn_key_ends_its_streams(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.messaging.session_token.CHECK_S", 0.0)
    async with running(tmp_path / "data", jwks_file=keys) as system:
        address = system.where
        assert system.addresses.token_secret_file is None
        async with (
            streams.caught_up(address, signed("r1", RSA, "RS256")) as alice,
            streams.caught_up(address, signed("e1", ED, "EdDSA", sub="bob")) as bob,
        ):
            write(keys, "[]")  # broken: nothing changes
            await alice.send(streams.message("m", "d:alice~bob"))
            await alice.until_acks(1)
            write_keys(keys, public("e1", ED))
            assert (await alice.ended()).code == "UNAUTHENTICATED"
            await bob.send(streams.message("m", "d:alice~bob"))
            await bob.until_acks(1)


async def test_the_connect_server_knows_the_same_tokens(tmp_path: Path) -> None:
    async with running(tmp_path) as system, httpx.AsyncClient() as client:
        url = f"{system.addresses.connect}/v1/connect"
        cases = {
            None: "unauthenticated",
            "Bearer": "unauthenticated",
            "Basic x": "unauthenticated",
            "Bearer a.b.c": "unauthenticated",
            f"Bearer {system.token('alice', -1)}": "token_expired",
        }
        for header, code in cases.items():
            answer = await client.get(url, headers={"authorization": header} if header else {})
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == code
            assert answer.headers["www-authenticate"] == "Bearer"
        good = await client.get(url, headers={"authorization": f"Bearer {system.token('alice')}"})
        assert good.status_code == 200
        assert good.json()["user_id"] == "alice"
        assert good.json()["messaging"] == system.addresses.messaging


@pytest.mark.parametrize("header", [b"Bearer \xff\xfe", b"Bearer \xc3\xa4.\xc3\xa4.x", b"\xff"])
async def test_bytes_that_are_no_text_are_no_token(tmp_path: Path, header: bytes) -> None:
    async with running(tmp_path) as system, httpx.AsyncClient() as client:
        answer = await client.get(
            f"{system.addresses.connect}/v1/connect", headers={b"authorization": header}
        )
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthenticated"
