"""Serves gRPC the way every server does: with health, reflection, keepalive and typed errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cecochat.auth.certificates import Certificate, Pem
from cecochat.auth.tokens import Identity, Verifier, bearer
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.v1 import errors_pb2

ERROR_TRAILER = "cecochat-error-bin"
KEEPALIVE_MS = 20_000  # together with its timeout, it finds a dead peer within 45 s
KEEPALIVE_TIMEOUT_MS = 20_000
STOP_GRACE_S = 1.0
CONNECTION_GRACE_MS = 15_000
LOOKAHEAD_BYTES = 16 << 10
"""How much of a stream may wait unread. The rest of a larger frame arrives while it is read."""

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.bdp_probe", 0),  # otherwise the lookahead grows to megabytes
    ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
    ("grpc.max_concurrent_streams", 100),  # per connection
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.enable_channelz", 0),  # nobody can ask for what it would keep of each connection
    ("grpc.max_connection_idle_ms", 300_000),  # how long a connection may have no call
]

STATUS = {
    errors_pb2.ERROR_CODE_INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    errors_pb2.ERROR_CODE_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    errors_pb2.ERROR_CODE_TOKEN_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    errors_pb2.ERROR_CODE_TOKEN_REVOKED: grpc.StatusCode.UNAUTHENTICATED,
    errors_pb2.ERROR_CODE_FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_CODE_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_CODE_WRONG_SERVER: grpc.StatusCode.FAILED_PRECONDITION,
    errors_pb2.ERROR_CODE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_CODE_UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    errors_pb2.ERROR_CODE_BEHIND: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_CODE_SLOW: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_CODE_DRAINING: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_CODE_MOVED: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_CODE_CATCH_UP: grpc.StatusCode.ABORTED,
    errors_pb2.ERROR_CODE_PROTOCOL: grpc.StatusCode.FAILED_PRECONDITION,
    errors_pb2.ERROR_CODE_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors_pb2.ERROR_CODE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    errors_pb2.ERROR_CODE_REPLACED: grpc.StatusCode.ABORTED,
    errors_pb2.ERROR_CODE_ERASED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_BANNED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_MUTED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_FROZEN: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_REJECTED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_TOO_SOON: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_BLOCKED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_STRANGER: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_CODE_REUSED_ID: grpc.StatusCode.ALREADY_EXISTS,
}
"""Error code -> gRPC status. Any other code is a fault of the server: INTERNAL."""

Context = grpc.aio.ServicerContext[Any, Any]
Health = health.aio.HealthServicer


class Service(NamedTuple):
    """What a server offers over gRPC: its full name, and its calls by their names.
    `connection_age_ms`: a connection of that age takes no more calls, and ends some seconds later,
    with what is under way; 0: it may stay.
    """

    name: str
    calls: dict[str, grpc.RpcMethodHandler[Any, Any]]
    receive_max_bytes: int
    connection_age_ms: int = 0

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The options of a gRPC server that offers this service."""
        options = [*OPTIONS, ("grpc.max_receive_message_length", self.receive_max_bytes)]
        if self.connection_age_ms:
            options += [
                ("grpc.max_connection_age_ms", self.connection_age_ms),
                ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
            ]
        return options


@asynccontextmanager
async def serving(
    service: Service, host: str, port: int, certificate: Certificate | None
) -> AsyncIterator[tuple[int, Health]]:
    """Serve one service with health and reflection. Yields the port and the health.

    The health says "not serving" until `said_to_serve`. A connection that reaches
    `connection_age_ms` takes no more calls, and is closed 15 s later, with whatever is under way;
    0 means that it may stay. Leaving the block cuts off calls after a grace of 1 s.

    Raises `InvalidSettings` if the port is in use.
    """
    name = service.name
    made = grpc.aio.server(options=service.options)
    calls = grpc.method_handlers_generic_handler(name, service.calls)
    made.add_generic_rpc_handlers((calls,))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, made)
    reflection.enable_server_reflection([name, reflection.SERVICE_NAME, health.SERVICE_NAME], made)
    await _set_health(servicer, name, serving=False)
    try:
        bound = _bind(made, f"{host}:{port}", certificate)
    except RuntimeError:
        raise InvalidSettings(f"port {port} is in use: choose another for {name}") from None
    await made.start()
    try:
        yield bound, servicer
    finally:
        await _set_health(servicer, name, serving=False)
        await made.stop(STOP_GRACE_S)


def _bind(made: grpc.aio.Server, address: str, certificate: Certificate | None) -> int:
    if certificate is None:
        return made.add_insecure_port(address)
    return made.add_secure_port(address, _credentials(certificate))


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Return credentials that look at each handshake whether the certificate has changed."""
    given = certificate.pem

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if certificate.pem is given:
            return None
        given = certificate.pem
        return _pair(given)

    # The stub does not say that None means "as before".
    return grpc.dynamic_ssl_server_credentials(_pair(given), changed)  # type: ignore[arg-type]


def _pair(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.chain)])


async def _set_health(servicer: Health, name: str, *, serving: bool) -> None:
    """Set the health of the service, and of "", which stands for the server as a whole."""
    answer = health_pb2.HealthCheckResponse
    status = answer.SERVING if serving else answer.NOT_SERVING
    for each in ("", name):
        await servicer.set(each, status)


@asynccontextmanager
async def said_to_serve(health: Health, service: Service) -> AsyncIterator[None]:
    """Have the health say "serving" during the block."""
    await _set_health(health, service.name, serving=True)
    yield
    await _set_health(health, service.name, serving=False)


def authenticate(context: Context, verifier: Verifier) -> tuple[str, Identity]:
    """Return the token and the identity of a call. Raises `Refusal`."""
    metadata = dict(context.invocation_metadata() or ())
    token = bearer(str(metadata.get("authorization", "")))
    return token, verifier.verify(token)


def status_of(refusal: Refusal) -> grpc.StatusCode:
    """Return the gRPC status of a refusal."""
    return STATUS.get(refusal.error_code, grpc.StatusCode.INTERNAL)


def refuse(context: Context, refusal: Refusal) -> None:
    """Have a call of a stream end with a refusal when its handler returns: as its status, and as a
    typed error in the trailer.

    `context.abort` would keep all of the call until the garbage collector looks, since the context
    keeps the exception that it raises.
    """
    context.set_code(status_of(refusal))
    context.set_details(refusal.message)
    context.set_trailing_metadata(((ERROR_TRAILER, refusal.proto().SerializeToString()),))


INTERNAL = Refusal(
    errors_pb2.ERROR_CODE_INTERNAL, "the server failed; its log has the cause: try again"
)
