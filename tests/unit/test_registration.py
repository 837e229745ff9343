"""What servers sign of themselves in a registry, and where their health may be."""

from __future__ import annotations

import hmac
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.adapters.consul.services import instance_of, registration
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.auth.registration import health_parts, health_url, is_signed, signature
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import SERVICES, Instance

SECRET = b"of the tests of this file"
SETTINGS = ConsulSettings("unset:0", SECRET)
SERVER = Instance(
    "messaging", "m1", "10.0.0.1:1", "http://10.0.0.1:2", "1", "10.0.0.1:3",
    "ws://10.0.0.1:1/v1/chat", "10.0.0.1:4",
)  # fmt: skip

texts = st.text(max_size=8)
instances = st.builds(Instance, st.sampled_from(SERVICES), *[texts] * 7)


@given(texts, instances, texts, instances)
def test_no_two_servers_have_one_signature(
    one: str, first: Instance, other: str, second: Instance
) -> None:
    same = (one, first) == (other, second)
    assert is_signed(SECRET, one, first, signature(SECRET, other, second)) == same


def test_each_part_is_signed_and_the_bounds_between_them() -> None:
    signed = signature(SECRET, "cecochat", SERVER)
    assert is_signed(SECRET, "cecochat", SERVER, signed)
    assert not is_signed(b"another secret, long enough", "cecochat", SERVER, signed)
    assert not is_signed(SECRET, "other", SERVER, signed)
    for name in Instance._fields:
        changed = SERVER._replace(**{name: "history"})  # type: ignore[arg-type]
        assert not is_signed(SECRET, "cecochat", changed, signed), name
    moved = SERVER._replace(instance_id='m1", "10.0.0.1', address=":1")
    assert not is_signed(SECRET, "cecochat", moved, signed)


@pytest.mark.parametrize("signed", ["", "0" * 64, "\ud800", "ä" * 64])
def test_a_signature_may_be_any_text(signed: str) -> None:
    assert not is_signed(SECRET, "cecochat", SERVER, signed)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:2", "https://a-1.example_x:65535", "http://[::1]:80"]
)
def test_a_health_is_a_scheme_a_host_and_a_port(url: str) -> None:
    assert health_url(*health_parts(url)) == url


@pytest.mark.parametrize(
    ("scheme", "address"),
    [
        *itertools.product(("http",), (
            "", "a", ":1", "a:", "a:0", "a:65536", "a:1/", "a:1/metrics?x=", "u:p@a:1", "u@a:1",
            "a:1#", "a:1?x", "a:1\n", "a\n:1", "a b:1", "a:+1", "a:१", "[::1:1", "::1:1", "a:1:2",
        )),
        *itertools.product(("", "ftp", "file", "HTTP", "http\n", "unix"), ("a:1",)),
    ],
)  # fmt: skip
def test_nothing_else_can_come_through_even_signed(scheme: str, address: str) -> None:
    """As a server of a version that does not check might sign it."""
    with pytest.raises(ValueError, match="not a scheme and a host:port"):
        health_url(scheme, address)
    forged = SERVER._replace(health_url=f"{scheme}://{address}")
    meta = {
        "instance_id": "m1",
        "version": "1",
        "behind": "10.0.0.1:3",
        "health": address,
        "health_scheme": scheme,
        "signature": signature(SECRET, SETTINGS.namespace, forged),
    }
    with pytest.raises(ValueError, match="not a scheme and a host:port"):
        instance_of(SETTINGS, "messaging", entry(meta))
    with pytest.raises(InvalidSettings, match="m1 cannot be registered"):
        registration(SETTINGS, forged)


def entry(meta: dict[str, str]) -> dict[str, object]:
    """As Consul lists it."""
    service = {"ID": "x", "Address": "10.0.0.1", "Port": 1, "Meta": meta}
    return {"Node": {"Address": "10.0.0.9"}, "Service": service}


def test_what_is_registered_is_read_again() -> None:
    meta = registration(SETTINGS, SERVER)["meta"]
    assert instance_of(SETTINGS, "messaging", entry(meta)) == SERVER
    with pytest.raises(ValueError, match="not signed"):
        instance_of(SETTINGS, "messaging", entry(meta | {"health": "169.254.169.254:80"}))
    with pytest.raises(ValueError, match="not signed"):
        instance_of(SETTINGS, "history", entry(meta))


def test_servers_of_the_version_before_read_and_trust_it() -> None:
    """They know these keys and this order of what is signed, and no others."""
    server = SERVER._replace(service="history", web="http://10.0.0.1:9")
    meta = registration(SETTINGS, server)["meta"]
    assert (meta["websocket"], meta["websocket_behind"]) == ("http://10.0.0.1:9", "10.0.0.1:4")
    form = json.dumps([
        "cecochat-registration-1", SETTINGS.namespace, "history", "m1", "10.0.0.1:1",
        "http://10.0.0.1:2", "1", "10.0.0.1:3", "http://10.0.0.1:9", "10.0.0.1:4",
    ])  # fmt: skip
    assert meta["signature"] == hmac.new(SECRET, form.encode(), "sha256").hexdigest()
    older = registration(SETTINGS, server._replace(web="", web_behind=""))["meta"]
    assert "websocket" not in older
    assert instance_of(SETTINGS, "history", entry(older)).web == ""
