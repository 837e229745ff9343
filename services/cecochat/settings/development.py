"""Decides where the connect server may sign tokens by itself, which its chat page needs."""

from __future__ import annotations

from pathlib import Path

from cecochat.settings import backends
from cecochat.settings.hosts import is_loopback
from cecochat.settings.settings import Settings

CONNECTIONS = Path("/proc/self/net/tcp")
"""Names the user behind a connection: only Linux has it."""


def signs_tokens(settings: Settings) -> bool:
    """Return whether a system that one process runs is certainly one for development.

    That is: its secret is the one that it made in its own data folder, its log is in that folder
    too, clients reach it at loopback alone, no edge leads anybody else there, and this machine can
    tell whose a connection is. All of it has to hold, so that no single mistake makes a system in
    production sign tokens for strangers.
    """
    made_its_secret = settings.secret_file is not None and settings.token_secret_file is None
    return (
        settings.chat_page
        and made_its_secret
        and not backends.is_shared("backplane", settings)
        and is_loopback(settings.host)
        and is_loopback(settings.public_host)
        and not settings.edge
        and CONNECTIONS.exists()
    )
