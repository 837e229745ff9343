"""The certificate of a server, read again while it runs: what its files hold decides, not their
time. One that cannot be used leaves the last good one in force.
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
    """What the files of a certificate hold."""

    key: bytes
    chain: bytes
    ca: bytes  # who signs the certificates of the other side; empty: nobody is asked for one

    @classmethod
    def of(cls, tls: Tls) -> Pem:
        """Raises OSError."""
        assert tls.cert_file
        key_file = tls.key_file or tls.cert_file  # one file may hold both
        ca = tls.ca_file.read_bytes() if tls.ca_file else b""
        return cls(key_file.read_bytes(), tls.cert_file.read_bytes(), ca)


class Certificate:
    """`context` is for those who listen, `client` for those who ask others, where both sides show
    one. Each handshake takes the certificate that is in use then; connections that are open stay.
    """

    def __init__(self, tls: Tls) -> None:
        """Raises `InvalidSettings`."""
        self._tls = tls
        self._newest = self.context = tls.server()
        self.context.sni_callback = self._choose  # called whether there is a name or not
        self.client = tls.client() if tls.ca_file else None
        self.pem = Pem.of(tls)
        self._ends_s = _ends_s(self.pem)
        self._wrong = ""  # said already

    @property
    def expires_in_s(self) -> float:
        """How long the one in use still holds."""
        return self._ends_s - time.time()

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    async def follow(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Take what the files hold now, where that can be used."""
        try:
            self._take(Pem.of(self._tls))
        except (OSError, InvalidSettings) as error:
            if str(error) != self._wrong:
                log.error("the certificate of before stays in use: %s", error)
            self._wrong = str(error)
        else:
            self._wrong = ""

    def _take(self, pem: Pem) -> None:
        if pem == self.pem:
            return
        newest, ends_s = self._tls.server(), _ends_s(pem)
        if Pem.of(self._tls) != pem:
            return  # it is being written just now
        if self.client:
            self._tls.use_for(self.client)
        self._newest, self._ends_s, self.pem = newest, ends_s, pem
        log.info("%s is in use from now on", self._tls.cert_file)


def _ends_s(pem: Pem) -> float:
    try:
        own, *_ = x509.load_pem_x509_certificates(pem.chain)
    except ValueError as error:
        raise InvalidSettings(f"no certificate in PEM can be read: {error!s:.200}") from None
    return own.not_valid_after_utc.timestamp()


@asynccontextmanager
async def following(tls: Tls | None) -> AsyncGenerator[Certificate | None]:
    """The certificate, followed while in the context; None: there is no TLS. Raises
    `InvalidSettings`.
    """
    if tls is None:
        yield None
        return
    certificate = Certificate(tls)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(certificate.follow())
        yield certificate
        task.cancel()
