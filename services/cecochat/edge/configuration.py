"""Writes the configuration of HAProxy, from the settings and the servers behind it.

Each port of the edge leads to one messaging server, so any gRPC client finds the owner of a user's
partition by the host:port that it is told. On the main port, the path of a request decides whether
it goes to a connect, messaging or history server (ADR 0101).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import FOR_CLIENTS, Instance, Service
from cecochat.settings.settings import CHAT_PATH, PREFIX, Settings, split_address

HEADERS_MAX = 64
STREAMS_MAX = 32
"""How many streams one connection may have. Our client opens one, others open a few."""
RATE_S = 10
"""The requests of an address are counted over this time, since clients come back all at once."""
LOGGED = 1_000
"""Above this rate, an address's requests are not logged: a flood of 326,000 had a line each."""
INTERVALS = "inter 2s downinter 500ms fall 3 rise 1"
RELOADS_MAX = 10
"""After so many reloads, a worker that still serves old streams ends them."""

PATHS: dict[Service, str] = {
    "connect": (
        "path_beg /v1/ /cecochat.v1.Directory/ /cecochat.v1.Attachments/ /files /openapi.json"
    ),
    "messaging": "path_beg /cecochat.v1.Messaging/",
    "history": "path_beg /cecochat.v1.History/",
}
"""The paths that lead to each server, as HAProxy tests them.

Health, metrics and what is for operators are not among them.
"""
HTTP = "http/1.1"
GRPC = "req.hdr(content-type) -m beg application/grpc"
"""What tells gRPC from queries over plain HTTP, which have the same paths."""
WEBSOCKET = f"path {CHAT_PATH}"
"""The path of a messaging server's WebSockets. They have a port of their own behind the edge."""

PLAIN = re.compile(r"[\w.:/\[\]-]+", re.ASCII)
LOG_FORMAT = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %ts %HM %HPO"
"""It has neither headers nor the query of the URL, since either may hold a token."""


class Behind(NamedTuple):
    """A server behind the edge."""

    service: Service
    server_id: str
    address: str  # host:port
    health_url: str  # connect answers /livez on its port for clients
    port: int  # the port of the edge that leads here
    web: str = ""  # host:port for browsers: WebSockets of messaging, HTTP of history; empty: none


def of_one_machine(settings: Settings) -> list[Behind]:
    """Return the servers of a `cecochat up` with these settings. Raises `InvalidSettings`."""
    _, port = split_address(settings.edge)
    connect = f"{settings.host}:{settings.connect_port}"
    scheme = "https" if settings.tls else "http"
    return [
        Behind("connect", "connect", connect, f"{scheme}://{connect}", port),
        _behind(
            settings, "messaging", settings.messaging_port, settings.messaging_health_port
        )._replace(web=f"{settings.host}:{settings.messaging_websocket_port}"),
        _behind(settings, "history", settings.history_port, settings.history_health_port)._replace(
            web=f"{settings.host}:{settings.history_http_port}"
        ),
    ]


def _behind(settings: Settings, service: Service, port: int, health_port: int) -> Behind:
    _, edge_port = split_address(settings.edge)
    scheme = "https" if settings.internal_tls else "http"
    health = f"{scheme}://{settings.internal_address}:{health_port}"
    return Behind(service, service, f"{settings.host}:{port}", health, edge_port)


def of_instances(settings: Settings, instances: Iterable[Instance]) -> list[Behind]:
    """Return the registered servers that belong behind this edge.

    These are the messaging servers that clients know by this edge's host, and the connect and
    history servers of all machines, since any of them will do. Raises `InvalidSettings`.
    """
    host, main = split_address(settings.edge)
    found = []
    for each in instances:
        if not each.behind or each.service not in FOR_CLIENTS or not _is_plain(each):
            continue
        own, port = split_address(each.address)
        if each.service == "messaging" and own != host:
            continue
        port = port if each.service == "messaging" else main
        health = f"http://{each.behind}" if each.service == "connect" else each.health_url
        web = each.web_behind
        found.append(Behind(each.service, each.instance_id, each.behind, health, port, web))
    return sorted(found)


def _is_plain(instance: Instance) -> bool:
    """Return whether all parts are safe in the configuration.

    Whoever can write to the registry must not be able to add lines to it.
    """
    texts = (instance.instance_id, instance.address, instance.behind, instance.health_url)
    if not all(PLAIN.fullmatch(text) for text in texts):
        return False
    addresses = [instance.address, instance.behind, urlsplit(instance.health_url).netloc]
    addresses += [instance.web_behind] if instance.web_behind else []
    return all(PLAIN.fullmatch(text) and _is_address(text) for text in addresses)


def _is_address(text: str) -> bool:
    try:
        split_address(text)
    except InvalidSettings:
        return False
    return True


def written(settings: Settings, servers: Sequence[Behind]) -> str:
    """Return the whole configuration. Raises `InvalidSettings`."""
    if settings.tls and not settings.edge_ca_file:
        raise InvalidSettings(
            f"{PREFIX}TLS_CERT_FILE makes servers speak TLS with the edge, too: name the authority "
            f"of their certificates with {PREFIX}EDGE_CA_FILE, or set only {PREFIX}EDGE_CERT_FILE"
        )
    _, main = split_address(settings.edge)
    ports = sorted({server.port for server in servers if server.service == "messaging"} - {main})
    parts = [_global(settings), _defaults(settings), _addresses()]
    parts += [_frontend(settings, main, FOR_CLIENTS)]
    parts += [_frontend(settings, port, ("messaging",)) for port in ports]
    ca_file = settings.edge_ca_file
    for service in ("connect", "history"):
        same = [each for each in servers if each.service == service]
        protocol = HTTP if service == "connect" else "h2"
        parts.append(_backend(service, same, ca_file, protocol))
    histories = [each for each in servers if each.service == "history"]
    parts.append(_backend("history-http", _of_web(histories), ca_file, HTTP))
    for port in (main, *ports):
        owners = [each for each in servers if (each.service, each.port) == ("messaging", port)]
        parts.append(_backend(f"messaging-{port}", owners, ca_file))
        parts.append(_backend(f"websocket-{port}", _of_web(owners), ca_file, HTTP))
    return "\n".join(parts)


def _of_web(servers: Iterable[Behind]) -> list[Behind]:
    """Return the servers that have a listener for browsers, at its address."""
    return [each._replace(address=each.web) for each in servers if each.web]


def _section(head: str, *lines: str) -> str:
    return "\n".join([head, *(f"    {line}" for line in lines), ""])


def _global(settings: Settings) -> str:
    return _section(
        "global",
        "log stdout format raw daemon info",
        f"maxconn {settings.edge_connections}",
        f"hard-stop-after {settings.edge_idle_s}s",
        f"mworker-max-reloads {RELOADS_MAX}",
        f"tune.http.maxhdr {HEADERS_MAX}",
        f"tune.h2.max-concurrent-streams {STREAMS_MAX}",
        "ssl-default-bind-options ssl-min-ver TLSv1.2",
    )


def _defaults(settings: Settings) -> str:
    return _section(
        "defaults",
        "mode http",
        "log global",
        "option dontlognull",
        f'log-format "{LOG_FORMAT}"',
        "timeout connect 5s",
        f"timeout http-request {settings.edge_header_s}s",
        "timeout http-keep-alive 60s",
        "# A stream may be silent for long. The keepalive finds clients that are gone. A tunnel is",
        "# a WebSocket, where the server asks for a sign of life every 20 s.",
        f"timeout client {settings.edge_idle_s}s",
        f"timeout server {settings.edge_idle_s}s",
        f"timeout tunnel {settings.edge_idle_s}s",
        "option clitcpka",
        "clitcpka-idle 20s",
        "clitcpka-intvl 10s",
        "clitcpka-cnt 3",
        "# Each stream has a connection of its own, so that a slow reader does not hold up others.",
        "http-reuse never",
        "option http-no-delay",
    )


def _addresses() -> str:
    kept = f"conn_cur,http_req_rate({RATE_S}s)"
    return _section("backend addresses", f"stick-table type ipv6 size 100k expire 2m store {kept}")


def _frontend(settings: Settings, port: int, services: Sequence[Service]) -> str:
    certificate = settings.edge_cert_file
    tls = f" ssl crt {_quoted(str(certificate))} alpn h2,http/1.1" if certificate else ""
    limit = settings.edge_connections_per_address
    requests = settings.edge_requests_per_address * RATE_S
    served = " or ".join(
        f"{{ {path} }}" for path in (WEBSOCKET, *(PATHS[each] for each in services))
    )
    backends = {service: service for service in services} | {"messaging": f"messaging-{port}"}
    return _section(
        f"frontend edge-{port}",
        f"bind {settings.edge_host}:{port}{tls}",
        "tcp-request connection track-sc0 src table addresses",
        f"tcp-request connection reject if {{ sc0_conn_cur(addresses) gt {limit} }}",
        f"http-request set-log-level silent if {{ sc0_http_req_rate(addresses) gt {LOGGED} }}",
        f"http-request deny deny_status 404 unless {served}",
        f"http-request deny deny_status 429 if {{ sc0_http_req_rate(addresses) gt {requests} }}",
        f"use_backend websocket-{port} if {{ {WEBSOCKET} }}",  # before what it begins with
        *_history_http(services),
        *(f"use_backend {backends[each]} if {{ {PATHS[each]} }}" for each in services),
    )


def _history_http(services: Sequence[Service]) -> list[str]:
    if "history" not in services:
        return []
    return [f"use_backend history-http if {{ {PATHS['history']} }} !{{ {GRPC} }}"]


def _quoted(word: str) -> str:
    return "'" + word.replace("'", r"'\''") + "'"


def _backend(
    name: str, servers: Sequence[Behind], ca_file: Path | None, protocol: str = "h2"
) -> str:
    lines = (f"{_server(each, protocol)}{_tls(each, ca_file, protocol)}" for each in servers)
    return _section(f"backend {name}", "option httpchk GET /livez", *lines)


def _server(server: Behind, protocol: str) -> str:
    """HAProxy checks a server over HTTP. One that does not answer gets no new clients."""
    health = urlsplit(server.health_url)
    check = f"check addr {health.hostname} port {health.port} check-proto h1 {INTERVALS}"
    grpc = " proto h2" if protocol == "h2" else ""
    return f"server {server.server_id} {server.address}{grpc} {check}"


def _tls(server: Behind, ca_file: Path | None, protocol: str) -> str:
    """Tell HAProxy how to encrypt, and which certificate to expect.

    It must be signed by the given authority. If the address is a name, the certificate must have
    that name; HAProxy does not compare IP addresses.
    """
    check = " check-ssl" if server.health_url.startswith("https:") else ""
    if ca_file is None:
        return f"{check} verify none" if check else ""  # the check asks for life, not for identity
    host, _ = split_address(server.address)
    name = "" if _is_ip(host) else f" verifyhost {host}"
    return f" ssl alpn {protocol} verify required ca-file {_quoted(str(ca_file))}{name}{check}"


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
