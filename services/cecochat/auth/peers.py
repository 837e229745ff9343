"""Checks who asks an internal listener over mutual TLS.

Servers and operators have a certificate that the cluster's authority has signed.
"""

from __future__ import annotations

from sanic import Request

from cecochat.domain.errors import Refusal
from cecochat.settings.settings import PREFIX
from cecochat.v1 import errors_pb2


def check(request: Request) -> None:
    """Raise `Refusal` (forbidden) if the caller has shown no certificate.

    With a certificate of another authority, the handshake has failed before.
    """
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport else None
    if connection is None or not connection.getpeercert(binary_form=True):
        raise Refusal(
            errors_pb2.ERROR_CODE_FORBIDDEN,
            "this listener only answers callers with a certificate of the cluster's authority: set "
            f"{PREFIX}INTERNAL_CERT_FILE, {PREFIX}INTERNAL_KEY_FILE and {PREFIX}INTERNAL_CA_FILE",
        )
