"""Certificates and secrets, as files: for connections to a backend, and for servers of ours."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from cecochat.domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who we are. PEM files; no `ca_file`: the system's authorities."""

    ca_file: Path | None = None
    cert_file: Path | None = None  # with its chain
    key_file: Path | None = None

    @override
    def __str__(self) -> str:
        """Its files, for messages."""
        files = (self.cert_file, self.key_file, self.ca_file)
        return ", ".join(str(file) for file in files if file)

    def client(self) -> ssl.SSLContext:
        """For connections that go out: the peer is verified. Raises `InvalidSettings`."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise InvalidSettings(f"{self} cannot be used: {error}") from None
        return context

    def use_for(self, context: ssl.SSLContext) -> None:
        """Give a context of `client` what the files hold now. It trusts the authority of before
        too. Raises OSError.
        """
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)

    def server(self) -> ssl.SSLContext:
        """For connections that come in. With a `ca_file`, the other side is asked for a
        certificate of that authority: it may have none, but no other, and shows it in each
        handshake, so that nobody goes on with a session of before. Raises `InvalidSettings`.
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
    """What the file holds, without the line's end. Raises `InvalidSettings`."""
    if file is None:
        return None
    try:
        return file.read_text().rstrip("\n")
    except OSError as error:
        raise InvalidSettings(f"the secret in {file} cannot be read: {error}") from None
    except UnicodeDecodeError:  # which would say some of it
        raise InvalidSettings(f"the secret in {file} is not UTF-8 text") from None
