"""Asks, in each protocol, the shortest question that only a working server answers."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

TIMEOUT_S = 3.0

# What a socket raises if nobody is there, or if a program of another kind is.
NO_ANSWER = (OSError, http.client.HTTPException, ValueError, struct.error)

METADATA = 3
OPTIONS, SUPPORTED, STARTUP, READY, QUERY, RESULT = 0x05, 0x06, 0x01, 0x02, 0x07, 0x08
POSTGRES_PROTOCOL = 3 << 16
POSTGRES_STARTS = b"57P03"  # the code of an error
CQL_VERSION = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"  # a map of one string


def kafka(host: str, port: int) -> bool:
    """Whether a Metadata request (v1, no topics) is answered with a controller."""
    client = b"\x00\x05probe"
    request = struct.pack(">hhi", METADATA, 1, 1) + client + struct.pack(">i", 0)
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, min(size, 1 << 20))
    return _controller(answer) >= 0


def _controller(answer: bytes) -> int:
    """Return the controller's node id in a Metadata v1 response, or -1 if there is none yet."""
    brokers, at = struct.unpack_from(">i", answer, 4)[0], 8
    for _ in range(brokers):
        host_bytes = struct.unpack_from(">h", answer, at + 4)[0]
        at += 4 + 2 + host_bytes + 4
        rack_bytes = struct.unpack_from(">h", answer, at)[0]
        at += 2 + max(rack_bytes, 0)
    controller: int = struct.unpack_from(">i", answer, at)[0]
    return controller if brokers else -1


def cassandra(host: str, port: int) -> bool:
    """Whether a query for its own row in `system.local` is answered with rows."""
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        if _cql(connection, OPTIONS, b"")[0] != SUPPORTED:
            return False
        if _cql(connection, STARTUP, CQL_VERSION)[0] != READY:  # it wants credentials
            return True
        return _cql(connection, QUERY, _query("SELECT key FROM system.local"))[0] == RESULT


def cassandra_peers(host: str, port: int) -> frozenset[str] | None:
    """Return the addresses of the other nodes that a node knows, or None without an answer."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            _cql(connection, STARTUP, CQL_VERSION)
            opcode, result = _cql(connection, QUERY, _query("SELECT peer FROM system.peers"))
        return frozenset(_addresses(result)) if opcode == RESULT else None
    except NO_ANSWER:
        return None


def _addresses(result: bytes) -> Iterator[str]:
    """Return the addresses in a result whose rows have one column of the type inet."""
    _, _, columns = struct.unpack_from(">iii", result)
    assert columns == 1, "one column was asked for"
    at = 12
    for _ in ("keyspace", "table", "column"):
        at += 2 + int(struct.unpack_from(">H", result, at)[0])
    rows = struct.unpack_from(">i", result, at + 2)[0]  # after the type
    at += 6
    for _ in range(rows):
        size = struct.unpack_from(">i", result, at)[0]
        yield str(ipaddress.ip_address(result[at + 4 : at + 4 + size]))
        at += 4 + size


def _query(cql: str) -> bytes:
    """Return the body of a query with consistency ONE."""
    return struct.pack(">i", len(cql)) + cql.encode() + struct.pack(">HB", 0x0001, 0)


def _cql(connection: socket.socket, opcode: int, body: bytes) -> tuple[int, bytes]:
    """Return opcode and body of the answer to one frame of the native protocol v4."""
    connection.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
    _, _, _, answer, size = struct.unpack(">BBhBi", _exactly(connection, 9))
    return int(answer), _exactly(connection, min(size, 1 << 20))


def postgres(host: str, port: int) -> bool:
    """Whether somebody who logs in is asked for credentials, let in, or refused for good."""
    names = b"user\0cecochat\0database\0cecochat\0\0"
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">ii", 8 + len(names), POSTGRES_PROTOCOL) + names)
        kind, size = struct.unpack(">ci", _exactly(connection, 5))
        answer = _exactly(connection, min(size - 4, 1 << 16))
    return kind == b"R" or (kind == b"E" and POSTGRES_STARTS not in answer)


def redis(host: str, port: int) -> bool:
    """Whether PING is answered. A server that wants a password is there, one that loads is not."""
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(b"PING\r\n")
        answer = connection.recv(64)
    return answer.startswith((b"+PONG", b"-NOAUTH"))


def consul(host: str, port: int) -> bool:
    """Whether a leader is elected."""
    return bool(_json(host, port, "/v1/status/leader"))


def jaeger(host: str, port: int) -> bool:
    """Whether the query API lists services."""
    answer = _json(host, port, "/api/services")
    return isinstance(answer, dict) and "data" in answer


def prometheus(host: str, port: int) -> bool:
    """Whether its API answers, which it does once it has read its data."""
    answer = _json(host, port, "/api/v1/status/buildinfo")
    return isinstance(answer, dict) and answer.get("status") == "success"


def answered(ask: Callable[[str, int], bool], host: str, port: int) -> bool:
    """Whether the question `ask` is answered now as it should be."""
    try:
        return ask(host, port)
    except NO_ANSWER:
        return False


def listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), TIMEOUT_S):
        return True
    return False


def _json(host: str, port: int, path: str) -> Any:
    """Return the JSON at `path`, or None for any answer but 200."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1 << 20)
        return json.loads(body) if answer.status == 200 else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(size)
        if not part:
            raise ConnectionResetError("closed in the middle of an answer")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
