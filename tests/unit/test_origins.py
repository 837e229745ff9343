"""Which web pages are let in: their origins, and those that are our own."""

from __future__ import annotations

import pytest

from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.origins import origin, origins
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance
from cecochat.runtime.origins import NOT_YET, REFUSED, Origins
from cecochat.settings.settings import Settings, load


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://chat.example.com", "https://chat.example.com"),
        ("HTTPS://Chat.Example.COM:443/", "https://chat.example.com"),
        ("http://chat.example.com:80", "http://chat.example.com"),
        ("http://chat.example.com:443", "http://chat.example.com:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_as_a_browser_says_it(url: str, said: str) -> None:
    assert origin(url) == said
    assert origins(f" {url} ,") == {said}


@pytest.mark.parametrize(
    "text",
    ["*", "null", "chat.example.com", "https://", "ftp://a", "https://a/b", "https://*.a",
     "https://a b", "https://a\nb", "https://u@a", "x" * 5_000, 7, None, ["https://a"]],
)  # fmt: skip
def test_nothing_else_is_one(text: object) -> None:
    with pytest.raises(InvalidSettings, match=r"web\.origins"):
        origins(text)


async def of_a_system(settings: Settings, connect: str) -> Origins:
    discovery = EmbeddedDiscovery()
    await discovery.register(Instance("connect", "c1", connect, "http://127.0.0.1:1", "1"))
    return Origins(settings, discovery)


async def test_our_own_page_is_let_in_and_no_other() -> None:
    found = await of_a_system(load({}), "127.0.0.1:8080")
    assert found.allow("http://127.0.0.1:8080")
    assert found.allow("http://localhost:8080")
    for page in (
        "null", "", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://127.0.0.1",
        "http://evil.example:8080", "http://127.0.0.1:8080.evil.example",
        "http://localhost.evil.example:8080",
    ):  # fmt: skip
        assert not found.allow(page), page


async def test_behind_an_edge_our_own_page_is_there() -> None:
    edge = {"CECOCHAT_EDGE": "Chat.example.com:443", "CECOCHAT_EDGE_CERT_FILE": "edge.pem"}
    found = await of_a_system(load(edge), "Chat.example.com:443")
    assert found.allow("https://chat.example.com")
    assert not found.allow("http://chat.example.com")


async def test_nobody_is_turned_away_before_it_is_known_who_is_let_in() -> None:
    """Neither before there is a configuration, nor while no connect server is live."""
    page, discovery = ["https://app.example.com"], EmbeddedDiscovery()
    found = Origins(load({}), discovery)
    connect = Instance("connect", "c1", "127.0.0.1:8080", "http://127.0.0.1:1", "1")
    assert found.refusal(page) is NOT_YET
    await discovery.register(connect)
    assert found.refusal(page) is NOT_YET
    found.configure(Config())
    assert found.refusal(page) is REFUSED
    assert found.refusal(["http://127.0.0.1:8080"]) is None
    await discovery.deregister(connect)
    assert found.refusal(page) is NOT_YET
    assert found.refusal([]) is None, "a program that is no browser"
    found.configure(Config(web_origins=page[0]))
    assert found.refusal(page) is None


async def test_others_are_named_while_servers_run() -> None:
    found = await of_a_system(load({}), "127.0.0.1:8080")
    assert not found.allow("https://app.example.com")
    found.configure(Config(web_origins="https://app.example.com"))
    assert found.allow("https://app.example.com")
    found.configure(Config())
    assert not found.allow("https://app.example.com")


def test_the_setting_of_earlier_versions_names_the_key() -> None:
    with pytest.raises(InvalidSettings, match=r"cecochat config set web\.origins"):
        load({"CECOCHAT_WEBSOCKET_ORIGINS": "https://chat.example.com"})
