"""Follows the certificate of a running server when the content of its files changes.

A certificate that cannot be used leaves the last good one in force.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from cryptography import x509

from cecochat.domain.errors import InvalidSettings
from cecochat.settings.tls import Tls

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0


class Pem(NamedTuple):
    """The content of a certificate's files."""

    key: bytes
    chain: bytes
    ca: bytes  # signs the other side's certificates; empty if none is asked for

    @classmethod
    def of(cls, tls: Tls) -> Pem:
        """Read the files. Raises OSError."""
        assert tls.cert_file
        key_file = tls.key_file or tls.cert_file  # one file may hold both
        ca = tls.ca_file.read_bytes() if tls.ca_file else b""
        return cls(key_file.read_bytes(), tls.cert_file.read_bytes(), ca)


class Certificate:
    """A certificate that is followed.

    `context` is for listeners. `client` is for connections to other servers, if both sides show a
    certificate. Each handshake uses the newest certificate, and open connections stay.
    """

    def __init__(self, tls: Tls) -> None:
        """Load the files. Raises `InvalidSettings`."""
        self._tls = tls
        self._newest = self.context = tls.server()
        self.context.sni_callback = self._choose  # it is called with or without a server name
        self.client = tls.client() if tls.ca_file else None
        self.pem = Pem.of(tls)
        self._ends_s = _ends_s(self.pem)
        self._wrong = ""  # the fault that has been logged already

    @property
    def expires_in_s(self) -> float:
        """How long the certificate in use is still valid."""
        return self._ends_s - time.time()

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    async def follow(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Use what the files hold now, if that is valid."""
        try:
            self._take(Pem.of(self._tls))
        except (OSError, InvalidSettings) as error:
            if str(error) != self._wrong:
                log.error("the old certificate stays in use: %s", error)
            self._wrong = str(error)
        else:
            self._wrong = ""

    def _take(self, pem: Pem) -> None:
        if pem == self.pem:
            return
        newest, ends_s = self._tls.server(), _ends_s(pem)
        if Pem.of(self._tls) != pem:
            return  # it is being written at this moment
        if self.client:
            self._tls.use_for(self.client)
        self._newest, self._ends_s, self.pem = newest, ends_s, pem
        log.info("%s is in use from now on", self._tls.cert_file)


def _ends_s(pem: Pem) -> float:
    try:
        own, *_ = x509.load_pem_x509_certificates(pem.chain)
    except ValueError as error:
        raise InvalidSettings(
            f"the certificate cannot be read as PEM ({error!s:.200}): replace the file"
        ) from None
    return own.not_valid_after_utc.timestamp()


@asynccontextmanager
async def following(tls: Tls | None) -> AsyncGenerator[Certificate | None]:
    """Follow a certificate during the block. Yields None without TLS. Raises `InvalidSettings`."""
    if tls is None:
        yield None
        return
    certificate = Certificate(tls)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(certificate.follow())
        yield certificate
        task.cancel()
