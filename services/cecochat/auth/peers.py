"""Who asks an internal listener over mutual TLS: other servers and operators have a certificate of
the cluster's authority.
"""

from __future__ import annotations

from sanic import Request

from cecochat.domain.errors import Refusal
from cecochat.settings.settings import PREFIX
from cecochat.v1 import errors_pb2


def check(request: Request) -> None:
    """Raises `Refusal` (forbidden) for a connection without a certificate. One of another authority
    does not get so far: the handshake fails.
    """
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport else None
    if connection is None or not connection.getpeercert(binary_form=True):
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            "this listener answers who has a certificate of the cluster's authority: "
            f"{PREFIX}INTERNAL_CERT_FILE, {PREFIX}INTERNAL_KEY_FILE and {PREFIX}INTERNAL_CA_FILE",
        )
