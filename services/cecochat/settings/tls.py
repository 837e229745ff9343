"""Loads certificates and secrets from files, for our servers and for connections to backends."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from cecochat.domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM files that say whom to trust and who we are. By default, the system's authorities."""

    ca_file: Path | None = None
    cert_file: Path | None = None  # with its chain
    key_file: Path | None = None

    @override
    def __str__(self) -> str:
        """Return the files, for messages."""
        files = (self.cert_file, self.key_file, self.ca_file)
        return ", ".join(str(file) for file in files if file)

    def client(self) -> ssl.SSLContext:
        """Return a context for outgoing connections, which verifies the peer.

        Raises `InvalidSettings`.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise InvalidSettings(f"{self} cannot be used: {error}") from None
        return context

    def use_for(self, context: ssl.SSLContext) -> None:
        """Load what the files hold now into a context of `client`. Raises OSError.

        It goes on trusting the old authority, too.
        """
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)

    def server(self) -> ssl.SSLContext:
        """Return a context for incoming connections. Raises `InvalidSettings`.

        With a `ca_file`, callers are asked for a certificate of that authority. One without a
        certificate is let in, one with another certificate is not. Sessions are never resumed, so
        every handshake shows the certificate.
        """
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
            if self.ca_file:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.num_tickets = 0
            context.load_cert_chain(self.cert_file or "", self.key_file)
        except OSError as error:
            raise InvalidSettings(f"{self} cannot be used: {error}") from None
        return context


def secret(file: Path | None) -> str | None:
    """Return the content of a secret's file, without the end of line. Raises `InvalidSettings`."""
    if file is None:
        return None
    try:
        return file.read_text().rstrip("\n")
    except OSError as error:
        raise InvalidSettings(f"the secret in {file} cannot be read: {error}") from None
    except UnicodeDecodeError:  # the error would repeat some of the secret
        raise InvalidSettings(f"the secret in {file} is not UTF-8 text") from None
