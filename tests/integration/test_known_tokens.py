"""A token is checked once; what may change since is looked at each time."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import patch

import jwt
import pytest

from cecochat.auth import tokens
from cecochat.auth.tokens import Verifier
from cecochat.domain.cluster.configuration import Config
from tests.integration.test_tokens import ED, RSA, code_of, public, signed, write_keys


@pytest.fixture
def verifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verifier:
    monkeypatch.setattr("cecochat.auth.keys._LOOK_S", 0.0)
    write_keys(tmp_path / "jwks.json", public("one", ED))
    return Verifier(jwks_file=tmp_path / "jwks.json")


def test_a_signature_is_checked_once(verifier: Verifier) -> None:
    token = signed("one", ED, "EdDSA")
    with patch.object(jwt, "decode", wraps=jwt.decode) as decode:
        first = verifier.verify(token)
        assert verifier.verify(token) == first
        assert decode.call_count == 1
        other = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
        assert code_of(lambda: verifier.verify(other)) == "UNAUTHENTICATED"


def test_a_known_token_expires(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    token = signed("one", ED, "EdDSA", exp=time.time() + 2)
    verifier.verify(token)
    monkeypatch.setattr("cecochat.auth.tokens.time.time", lambda: time.monotonic() + 1e12)
    with patch.object(jwt, "decode", side_effect=jwt.ExpiredSignatureError):
        assert code_of(lambda: verifier.verify(token)) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("replaced", [False, True], ids=["withdrawn", "replaced"])
def test_the_key_of_a_known_token_changes(
    verifier: Verifier, tmp_path: Path, replaced: bool
) -> None:
    token = signed("one", ED, "EdDSA")
    verifier.verify(token)
    write_keys(tmp_path / "jwks.json", public("one" if replaced else "two", RSA))
    assert code_of(lambda: verifier.verify(token)) == "UNAUTHENTICATED"


def test_a_known_token_becomes_too_long_lived(verifier: Verifier) -> None:
    token = signed("one", ED, "EdDSA", iat=time.time(), exp=time.time() + 600)
    verifier.verify(token)
    verifier.configure(Config(tokens_lifetime_max_s=300))
    assert code_of(lambda: verifier.verify(token)) == "UNAUTHENTICATED"


def test_few_tokens_are_remembered(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "KNOWN_MAX", 2)
    one, two, three = (signed("one", ED, "EdDSA", sub=name) for name in ("a", "b", "c"))
    for token in (one, two, one, three):
        verifier.verify(token)
    with patch.object(jwt, "decode", wraps=jwt.decode) as decode:
        verifier.verify(one)
        verifier.verify(two)
    assert decode.call_count == 1, "the one that was used last was forgotten"
