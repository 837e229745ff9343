"""Keys from an identity provider: fresh ones are found, and the last good ones outlive it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from cecochat.auth import jwks_url
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.settings.settings import load
from tests.integration import streams
from tests.integration.systems import Running, running
from tests.integration.test_token_keys import PRIVATE
from tests.integration.test_tokens import ED, RSA, public, signed
from tests.support.certificates import certificates
from tests.support.eventually import eventually
from tests.support.hostile import metric
from tests.support.provider import Provider, provider

FRESH = ed25519.Ed25519PrivateKey.generate()
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def there() -> AsyncIterator[Provider]:
    async with provider() as made:
        made.publish(public("e1", ED), public("r1", RSA))
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_url, "AGAIN_S", 0.5)
    monkeypatch.setattr(jwks_url, "AWAY_S", 0.5)


async def looked_up(system: Running, held: str) -> str:
    """`OK` or the code; one that is retriable is asked again, as clients do."""
    async with httpx.AsyncClient() as client, asyncio.timeout(60):
        while True:
            head = {"authorization": f"Bearer {held}"}
            answer = await client.get(f"{system.addresses.connect}/v1/connect", headers=head)
            if answer.is_success:
                return "OK"
            error: dict[str, Any] = answer.json()["error"]
            if not error["retriable"]:
                return str(error["code"])
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("quick")
async def test_a_key_that_is_not_known_is_asked_for(tmp_path: Path, there: Provider) -> None:
    async with running(tmp_path, jwks_url=f"{there.url}/jwks") as system:
        assert system.addresses.token_secret_file is None
        assert await looked_up(system, signed("r1", RSA, "RS256")) == "OK"
        new = signed("e2", FRESH, "EdDSA")
        assert await looked_up(system, new) == "unauthenticated"
        there.publish(public("e2", FRESH))
        await asyncio.sleep(0.6)  # what it said last counts for so long
        assert await looked_up(system, new) == "OK"
        async with streams.caught_up(system.addresses.messaging, new) as alice:
            await alice.send(streams.message("m", "d:alice~bob"))
            await alice.until_acks(1)
        assert await looked_up(system, signed("r1", RSA, "RS256")) == "unauthenticated"  # withdrawn


@pytest.mark.usefixtures("quick")
async def test_tokens_with_unknown_keys_do_not_flood_the_provider(
    tmp_path: Path, there: Provider
) -> None:
    async with running(tmp_path, jwks_url=f"{there.url}/jwks") as system:
        await judge_flood(system, there)
        there.answers["/jwks"] = 500, {}
        await asked_again(system, there, there.asked["/jwks"])  # now it is known to be away
        await judge_flood(system, there)
        assert await looked_up(system, signed("e1", ED, "EdDSA")) == "OK"


async def judge_flood(system: Running, there: Provider) -> None:
    before, began_s = there.asked["/jwks"], time.monotonic()
    async with httpx.AsyncClient() as client:
        for number in range(300):
            head = {"authorization": f"Bearer {signed(f'k{number}', FRESH, 'EdDSA')}"}
            answer = await client.get(f"{system.addresses.connect}/v1/connect", headers=head)
            assert answer.status_code in (401, 503), answer.text
    took_s = time.monotonic() - began_s
    assert there.asked["/jwks"] - before <= 2 + took_s / jwks_url.AGAIN_S


@pytest.mark.usefixtures("quick")
async def test_the_last_good_keys_outlive_the_provider(
    tmp_path: Path, there: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    held = signed("e1", ED, "EdDSA")
    weak = {**public("e1", ED), "use": "enc"}
    broken: list[Any] = [
        (500, {"keys": []}), (302, {}), (200, b"<html>"), (200, {}), (200, {"keys": [weak]}),
        (200, {"padding": " " * (1 << 20), "keys": []}), (200, b"[" * 100_000),
    ]  # fmt: skip
    async with running(tmp_path, jwks_url=f"{there.url}/jwks") as system:
        there.location = f"{there.url}/elsewhere"  # followed by nobody
        there.answers["/elsewhere"] = 200, {"keys": [public("e2", FRESH)]}
        for answer in broken:
            there.answers["/jwks"] = answer
            before = there.asked["/jwks"]
            await asked_again(system, there, before)
            assert await looked_up(system, held) == "OK", answer
        assert there.asked["/elsewhere"] == 0
        there.held.clear()  # it takes requests, and says nothing
        assert await looked_up(system, held) == "OK"
        there.held.set()
        assert (
            await metric(system.addresses.health["connect"], "cecochat_token_keys_age_seconds") > 0
        )
        there.publish(public("e2", FRESH))
        assert await looked_up(system, signed("e2", FRESH, "EdDSA")) == "OK"
        assert await looked_up(system, held) == "unauthenticated"
    said = [each for each in caplog.messages if "the last ones stay in force" in each]
    assert len(said) >= len(broken) - 1, said
    assert any("has use 'enc'" in each for each in said), said


async def asked_again(system: Running, there: Provider, before: int) -> None:
    """A token of a key that is not known makes it look, and look again to have judged the first."""
    unknown = {"authorization": f"Bearer {signed('unknown', FRESH, 'EdDSA')}"}

    async def asked() -> bool:
        async with httpx.AsyncClient() as client:
            await client.get(f"{system.addresses.connect}/v1/connect", headers=unknown)
        return there.asked["/jwks"] >= before + 2

    await eventually(asked, every_s=0.05)


async def test_a_key_of_no_use_leaves_the_others(
    tmp_path: Path, there: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Providers publish keys for encryption beside those for signatures."""
    with caplog.at_level(logging.WARNING):
        there.publish({**public("enc", RSA), "use": "enc"}, PRIVATE, public("e1", ED))
        async with running(tmp_path, jwks_url=f"{there.url}/jwks") as system:
            assert await looked_up(system, signed("e1", ED, "EdDSA")) == "OK"
            assert await looked_up(system, signed("enc", RSA, "RS256")) == "unauthenticated"
            assert await looked_up(system, signed("bad", ED, "EdDSA")) == "unauthenticated"
    assert any("'bad' is a private key" in each and "'enc'" in each for each in caplog.messages)
    assert PRIVATE["d"] not in caplog.text


async def test_openid_connect_says_where_the_keys_are_and_who_issues(
    tmp_path: Path, there: Provider
) -> None:
    issuer = f"{there.url}/realms/chat"
    there.answers[f"/realms/chat{DISCOVERY}"] = (
        200,
        {"issuer": issuer, "jwks_uri": f"{there.url}/jwks", "scopes_supported": ["openid"]},
    )
    async with running(tmp_path, oidc_issuer=issuer) as system:
        assert await looked_up(system, signed("e1", ED, "EdDSA", iss=issuer)) == "OK"
        for wrong in ({}, {"iss": there.url}):
            assert await looked_up(system, signed("e1", ED, "EdDSA", **wrong)) == "unauthenticated"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"issuer": "https://evil.test", "jwks_uri": "URL/jwks"}, "of another issuer"),
        ({"issuer": "URL", "jwks_uri": "http://keys.test/jwks"}, "not over TLS"),
        ({"issuer": "URL", "jwks_uri": "file:///etc/jwks"}, "not a URL of keys"),
        ({"issuer": "URL"}, "not a configuration of OpenID Connect"),
        ([], "not a configuration of OpenID Connect"),
    ],
)
async def test_a_configuration_that_cannot_be_trusted_gives_no_keys(
    there: Provider, document: Any, why: str
) -> None:
    if isinstance(document, dict):
        document = {name: said.replace("URL", there.url) for name, said in document.items()}
    there.answers[DISCOVERY] = 200, document
    with pytest.raises(Unavailable, match=why):
        async with jwks_url.following("", there.url, needed=True):
            pass
    assert there.asked["/jwks"] == 0


async def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificates(tmp_path / "certificates")
    async with provider(made) as there:
        there.publish(public("e1", ED))
        with pytest.raises(Unavailable, match=r"certificate|CERTIFICATE"):
            async with jwks_url.following(f"{there.url}/jwks", "", needed=True):
                pass
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca_file))
        async with jwks_url.following(f"{there.url}/jwks", "", needed=True) as keys:
            assert keys.find("e1")


async def test_a_start_waits_for_the_provider_where_clients_come(there: Provider) -> None:
    there.answers.clear()
    with pytest.raises(Unavailable, match=f"{there.url}/jwks answered 404"):
        async with jwks_url.following(f"{there.url}/jwks", "", needed=True):
            pass
    asked = there.asked["/jwks"]
    async with jwks_url.following(f"{there.url}/jwks", "", needed=False):
        assert there.asked["/jwks"] == asked


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"CECOCHAT_JWKS_URL": "http://keys.test/jwks"}, "not over TLS"),
        ({"CECOCHAT_OIDC_ISSUER": "http://[::2]:80"}, "not over TLS"),
        ({"CECOCHAT_JWKS_URL": "keys.test/jwks"}, "not a URL of keys"),
        ({"CECOCHAT_JWKS_URL": "https://[x"}, "is not a URL"),
        ({"CECOCHAT_JWKS_URL": "ftp://127.0.0.1/jwks"}, "not a URL of keys"),
        ({"CECOCHAT_JWKS_URL": "https://a.test", "CECOCHAT_JWKS_FILE": "x"}, "from one place"),
        ({"CECOCHAT_JWKS_URL": "https://a.test", "CECOCHAT_OIDC_ISSUER": "https://a.test"},
         "set only one of CECOCHAT_JWKS_URL and CECOCHAT_OIDC_ISSUER"),
    ],
)  # fmt: skip
async def test_settings_that_trust_anybody_stop_a_start(said: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidSettings, match=why):
        await start_with(said)


async def start_with(said: dict[str, str]) -> None:
    settings = load(said)
    async with jwks_url.following(settings.jwks_url, settings.oidc_issuer, needed=True):
        pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/x"])
def test_this_machine_needs_no_tls(url: str) -> None:
    jwks_url.check_url(url)
