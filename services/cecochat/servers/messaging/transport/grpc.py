"""The gRPC transport. It carries raw frames both ways, so that what is in the log is not parsed and
serialized again.
"""

from __future__ import annotations

import logging

import grpc

from cecochat.domain.errors import Refusal
from cecochat.runtime.grpc import INTERNAL, Context, Service, authenticate, refuse
from cecochat.runtime.tarpit import Tarpit
from cecochat.servers.messaging.server import MessagingServer

log = logging.getLogger(__name__)

RECEIVE_MAX_BYTES = 256 << 10  # up to here, a frame over the protocol's limit gets a typed answer


def service(server: MessagingServer) -> Service:
    """`cecochat.v1.Messaging`, which `server` serves."""
    tarpit = Tarpit()

    async def chat(_: object, context: Context) -> None:
        refusal: Refusal | None = None
        try:
            token, identity = authenticate(context, server.verifier)

            async def read() -> bytes | None:
                frame = await context.read()
                return None if frame is grpc.aio.EOF else frame

            with server.metrics.streams_open.labels("grpc").track_inprogress():
                refusal = await server.serve(token, identity, read, context.write)
        except Refusal as refused:
            refusal = refused.detached()
        except Exception:
            log.exception("a stream failed")
            refusal = INTERNAL
        finally:
            server.metrics.streams.labels(refusal.name if refusal else "ok").inc()
        if refusal:
            await tarpit.hold(refusal)
            refuse(context, refusal)

    call: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(chat)
    return Service("cecochat.v1.Messaging", {"Chat": call}, RECEIVE_MAX_BYTES)
