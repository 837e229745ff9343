"""Who is told: the endpoints, as their central document has them.

The document is `{"endpoints": {NAME: {"url": URL, "kinds": [KIND], "chats": [PATTERN], "enabled":
BOOL, "created_ms": MS, "generation": N, "rotated_ms": MS, "app": APP}}}`. MS are ms since 1970. An
endpoint is told what happens in its app, or in none. No secret is in it: each follows from the
cluster's secret, the name and the generation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from cecochat.domain.errors import Invalid, InvalidSettings
from cecochat.domain.hooks.told import BY_DEFAULT, DROPPED, KINDS, Told, chat_matches
from cecochat.domain.log.ids import app_name

ENDPOINTS_MAX: Final = 200
OF_AN_APP_MAX: Final = 20
CHATS_MAX: Final = 100
URL_MAX: Final = 2_000
ROTATION_MS: Final = 24 * 3_600_000
"""How long both secrets sign after a rotation."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_METADATA = re.compile(r"metadata\.google\.internal\.?\Z", re.IGNORECASE)
_OF_CLOUDS = {ip_address("fd00:ec2::254"), ip_address("100.100.100.200")}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint. One that is removed and made again has another `created_ms`, and so is another
    one.
    """

    name: str
    url: str
    created_ms: int
    kinds: tuple[str, ...] = BY_DEFAULT
    chats: tuple[str, ...] = ()
    enabled: bool = True
    generation: int = 1
    rotated_ms: int = 0
    app: str = ""

    @property
    def group(self) -> str:
        """The group under which its progress is committed."""
        return f"hooks.{self.name}.{self.created_ms}"

    def wants(self, told: Told) -> bool:
        """Return whether it is told this."""
        if told.kind == DROPPED:
            return True
        return told.kind in self.kinds and chat_matches(told.chat_id, self.app, self.chats)

    def generations(self, now_ms: int) -> tuple[int, ...]:
        """Return those whose secrets sign now, the newest first."""
        both = self.generation > 1 and now_ms < self.rotated_ms + ROTATION_MS
        return (self.generation, self.generation - 1) if both else (self.generation,)


Endpoints = Mapping[str, Endpoint]
"""By name."""


def parse(document: Any) -> Endpoints:
    """Read the endpoints from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not {"endpoints"}.issuperset(document):
        raise InvalidSettings(f"the hooks are {document!r:.80}: use an object of endpoints")
    found = document.get("endpoints", {})
    if not isinstance(found, Mapping) or len(found) > ENDPOINTS_MAX:
        raise InvalidSettings(f"the endpoints are not an object of at most {ENDPOINTS_MAX}")
    return {str(name): _endpoint(str(name), value) for name, value in found.items()}


def _endpoint(name: str, value: Any) -> Endpoint:
    try:
        made = Endpoint(
            name, **{**value, "kinds": tuple(value["kinds"]), "chats": tuple(value["chats"])}
        )
        check(made)
    except (TypeError, KeyError) as error:
        raise InvalidSettings(f"the endpoint {name!r:.80} is wrong: {error}") from None
    except Invalid as refusal:
        raise InvalidSettings(f"the endpoint {name!r:.80} is wrong: {refusal.message}") from None
    return made


def check(endpoint: Endpoint) -> None:
    """Raise `Invalid` if an endpoint cannot be used."""
    if not _NAME.match(endpoint.name):
        raise Invalid(f"{endpoint.name!r:.80} is no name: use 1 to 40 of a-z, 0-9 and -")
    _check_url(endpoint.url)
    if unknown := [each for each in endpoint.kinds if each not in KINDS]:
        raise Invalid(f"{unknown[0]!r:.80} is no kind: use {', '.join(KINDS)}")
    if not endpoint.kinds:
        raise Invalid("it names no kind, and would be told nothing")
    chats = endpoint.chats
    if len(chats) > CHATS_MAX or not all(isinstance(each, str) and each for each in chats):
        raise Invalid(f"use at most {CHATS_MAX} chats, each an id, or the beginning of ids and *")
    numbers = (endpoint.created_ms, endpoint.generation, endpoint.rotated_ms)
    if not all(isinstance(each, int) and each >= 0 for each in numbers):
        raise Invalid("created_ms, generation and rotated_ms have to be whole numbers")
    if endpoint.app:
        app_name(endpoint.app)


def _as_resolvers_read(host: str) -> IPv4Address:
    """Return the address that `inet_aton` reads: 1 to 4 numbers, also octal or hexadecimal, of
    which the last one fills the rest. Raises `ValueError`.
    """
    *first, last = (_number(part) for part in host.split("."))
    rest = 4 - len(first)
    if rest < 1 or any(each > 255 for each in first) or last >= 1 << 8 * rest:
        raise ValueError(host)
    return IPv4Address(bytes(first) + last.to_bytes(rest))


def _number(text: str) -> int:
    is_octal = text.startswith("0") and text.isdecimal()
    return int(text, 8 if is_octal else 0)


def _is_of_a_cloud(host: str) -> bool:
    """Return whether a host is an address at which machines find their credentials, however it is
    written. Names are not looked up.
    """
    try:
        given = ip_address(host)
    except ValueError:
        try:
            given = _as_resolvers_read(host)
        except ValueError:
            return False
    mapped = given.ipv4_mapped if isinstance(given, IPv6Address) else None
    return (mapped or given).is_link_local or given in _OF_CLOUDS


def _check_url(url: Any) -> None:
    """Operators may name any host but those that tell a machine its own credentials."""
    if not isinstance(url, str) or len(url) > URL_MAX or not url.isprintable() or not url.isascii():
        raise Invalid(f"{url!r:.80} is no URL: use at most {URL_MAX} ASCII characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise Invalid(f"{url!r:.80} is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise Invalid(f"{url!r:.80} is not an https:// or http:// URL with a host")
    if parts.username is not None or parts.fragment:
        raise Invalid("a URL must not have a user, a password or a fragment: webhooks are signed")
    if _METADATA.match(host) or _is_of_a_cloud(host):
        raise Invalid(f"{host} is where clouds keep the credentials of machines: use another host")


Decide = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What `Configuration.change` takes."""


def adding(endpoint: Endpoint) -> Decide:
    """Return what adds an endpoint. It raises `Invalid`."""
    check(endpoint)

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        if endpoint.name in found:
            raise Invalid(f"there is an endpoint {endpoint.name} already: change it, or remove it")
        if sum(each.app == endpoint.app for each in found.values()) >= OF_AN_APP_MAX:
            raise Invalid(f"there are {OF_AN_APP_MAX} endpoints, and more are not allowed")
        if len(found) >= ENDPOINTS_MAX:
            raise Invalid(f"all apps have {ENDPOINTS_MAX} endpoints, and more are not allowed")
        return document_of({**found, endpoint.name: endpoint})

    return decide


def changing(name: str, **changes: Any) -> Decide:
    """Return what changes some fields of an endpoint. It raises `Invalid`."""

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        changed = replace(named(found, name), **changes)
        check(changed)
        return document_of({**found, name: changed})

    return decide


def rotating(name: str, now_ms: int) -> Decide:
    """Return what gives an endpoint another secret. It raises `Invalid`."""

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        before = named(found, name)
        changed = replace(before, generation=before.generation + 1, rotated_ms=now_ms)
        return document_of({**found, name: changed})

    return decide


def removing(name: str) -> Decide:
    """Return what removes an endpoint. It raises `Invalid`."""

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        gone = named(found, name)
        return document_of({each: found[each] for each in found if each != gone.name})

    return decide


def named(endpoints: Endpoints, name: str) -> Endpoint:
    """Return the endpoint of that name. Raises `Invalid`."""
    if name in endpoints:
        return endpoints[name]
    there = ", ".join(sorted(endpoints)) or "none"
    raise Invalid(f"there is no endpoint {name!r:.80}: use one of {there}")


def document_of(endpoints: Endpoints) -> dict[str, Any]:
    """Return the document in which these endpoints are stored."""
    return {"endpoints": {name: _as_json(each) for name, each in endpoints.items()}}


def _as_json(endpoint: Endpoint) -> dict[str, Any]:
    fields = asdict(endpoint)
    del fields["name"]
    return {**fields, "kinds": list(endpoint.kinds), "chats": list(endpoint.chats)}
