"""The document of endpoints, their secrets, and what their answers mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cecochat.auth.hooks import Signer
from cecochat.domain.errors import Invalid, InvalidSettings
from cecochat.domain.hooks.endpoints import (
    ENDPOINTS_MAX,
    OF_AN_APP_MAX,
    ROTATION_MS,
    Endpoint,
    adding,
    changing,
    document_of,
    parse,
    removing,
    rotating,
)
from cecochat.domain.hooks.told import BY_DEFAULT, of_dropped
from cecochat.runtime.clock import now_ms
from cecochat.servers.hooks.posting import PAUSE_MAX_S, Answer, judge

URL = "https://shop.example.com/hooks"
SHOP = Endpoint("shop", URL, 1_800_000_000_000)
SECRET = bytes(range(32))


def test_a_document_is_read_as_it_was_written() -> None:
    made = adding(SHOP)({})
    assert parse(json.loads(json.dumps(made))) == {"shop": SHOP}
    assert parse({}) == {}
    assert document_of(parse(made)) == made


def test_it_is_changed_step_by_step() -> None:
    document = adding(Endpoint("crm", URL, 1))(adding(SHOP)({}))
    document = changing("shop", enabled=False, chats=("g:*",))(document)
    document = rotating("shop", 7)(document)
    document = removing("crm")(document)
    changed = Endpoint("shop", URL, SHOP.created_ms, BY_DEFAULT, ("g:*",), False, 2, 7)
    assert parse(document) == {"shop": changed}


@pytest.mark.parametrize(
    ("decide", "why"),
    [
        (adding(SHOP), "there is an endpoint shop already"),
        (changing("crm", enabled=False), "use one of shop"),
        (changing("shop", url="ftp://a"), "https://"),
        (removing("crm"), "no endpoint 'crm'"),
        (rotating("crm", 1), "no endpoint"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(decide: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        decide(adding(SHOP)({}))


def test_there_is_a_most_of_endpoints() -> None:
    document: Any = {}
    for number in range(ENDPOINTS_MAX):
        app = f"app{number // OF_AN_APP_MAX}"
        document = adding(Endpoint(f"n{number}", URL, 1, app=app))(document)
    with pytest.raises(Invalid, match="there are 20 endpoints"):
        adding(Endpoint("more", URL, 1, app="app0"))(document)
    with pytest.raises(Invalid, match="all apps have"):
        adding(SHOP)(document)


@pytest.mark.parametrize(
    "url",
    [
        "shop.example.com",
        "file:///etc/passwd",
        "https://",
        "https://user:pass@shop.example.com",
        "https://shop.example.com/#a",
        "https://shop.example.com:port/",
        "https://shop.example.com/\u0000",
        "https://shöp.example.com/",
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "http://0xa9.0376.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://metadata.google.internal/",
        f"https://shop.example.com/{'a' * 2_000}",
    ],
)
def test_a_url_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        adding(Endpoint("shop", url, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Shop"},
        {"name": ""},
        {"kinds": ("message",)},
        {"kinds": ()},
        {"chats": ("",)},
        {"chats": ("g:a",) * 101},
        {"created_ms": -1},
    ],
)
def test_an_endpoint_that_cannot_be_right_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        adding(replace(SHOP, **changes))


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"other": 1},
        {"endpoints": []},
        {"endpoints": {"shop": {"url": URL}}},
        {"endpoints": {"shop": None}},
        {"endpoints": {"shop": {"url": 1, "created_ms": 1, "kinds": [], "chats": []}}},
        {"endpoints": {"shop": {"url": URL, "created_ms": "1", "kinds": ["receipt"], "chats": []}}},
    ],
)
def test_a_document_that_makes_no_sense_is_refused(document: Any) -> None:
    with pytest.raises(InvalidSettings):
        parse(document)


def test_every_endpoint_is_told_what_was_dropped() -> None:
    picky = Endpoint("shop", URL, 1, kinds=("receipt",), chats=("g:a",))
    assert picky.wants(of_dropped(0, 1, 2, 3))


# -- secrets


def verified(secret: str, headers: dict[str, str], body: str) -> Any:
    return Webhook(secret).verify(body, headers)


def test_both_secrets_sign_for_a_day_after_a_rotation() -> None:
    signer, at_ms = Signer(SECRET), now_ms()
    before, after = SHOP, Endpoint("shop", URL, SHOP.created_ms, generation=2, rotated_ms=at_ms)
    old, new = signer.secret(before), signer.secret(after)
    assert old != new
    headers = dict(signer.headers(after, "event-1", "{}", at_ms))
    assert verified(old, headers, "{}") == verified(new, headers, "{}") == {}
    later = Endpoint("shop", URL, SHOP.created_ms, generation=2, rotated_ms=at_ms - ROTATION_MS)
    headers = dict(signer.headers(later, "event-1", "{}", at_ms))
    assert verified(new, headers, "{}") == {}
    with pytest.raises(WebhookVerificationError):
        verified(old, headers, "{}")


def test_no_two_endpoints_and_no_two_systems_have_the_same_secret() -> None:
    again = Endpoint("shop", URL, SHOP.created_ms + 1)
    signers = Signer(SECRET), Signer(SECRET[::-1])
    endpoints = SHOP, again, Endpoint("crm", URL, 1)
    assert len({each.secret(endpoint) for each in signers for endpoint in endpoints}) == 6


def test_what_was_changed_on_the_way_does_not_verify() -> None:
    signer = Signer(SECRET)
    headers = dict(signer.headers(SHOP, "event-1", "{}", now_ms()))
    for changed, body in ((headers, "[]"), (headers | {"webhook-id": "event-2"}, "{}")):
        with pytest.raises(WebhookVerificationError):
            verified(signer.secret(SHOP), changed, body)


# -- answers


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "taken"), (204, "taken"), (299, "taken"),
        (301, "again"), (308, "again"),
        (400, "refused"), (409, "refused"), (413, "refused"), (422, "refused"),
        (401, "again"), (403, "again"), (404, "again"), (408, "again"), (410, "again"),
        (429, "again"), (500, "again"), (503, "again"),
    ],
)  # fmt: skip
def test_a_status_says_what_became_of_it(status: int, verdict: str) -> None:
    assert judge(status, "") == Answer(verdict, f"status {status}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [("7", 7.0), ("99999", PAUSE_MAX_S), ("-1", 0.0), ("soon", 0.0), ("9" * 400, 0.0)],
)
def test_an_endpoint_can_ask_for_a_pause(header: str, pause_s: float) -> None:
    assert judge(503, header).pause_s == pause_s
