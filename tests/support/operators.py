"""The secret that the systems of tests have in common, and a client that is let in with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import httpx

from cecochat.auth.operators import SCOPES, Operators, Scope
from cecochat.runtime.guard import Guard
from cecochat.settings.private import drawn_secret
from cecochat.settings.settings import Settings

_folder = tempfile.TemporaryDirectory(prefix="cecochat-operators-")
SECRET_FILE = Path(_folder.name) / "cluster-secret"
drawn_secret(SECRET_FILE)
SETTING = {"CECOCHAT_CLUSTER_SECRET_FILE": str(SECRET_FILE)}
WITHIN_S = 30.0


def operators() -> Operators:
    return Operators(drawn_secret(SECRET_FILE))


def guard() -> Guard:
    """What stands before the internal listeners of a fake server."""
    return Guard(operators(), Settings())


def token(*scopes: Scope) -> str:
    """Of an operator with these scopes; none: with all."""
    return operators().mint("an operator", scopes or SCOPES, 3_600)


def headers(*scopes: Scope) -> dict[str, str]:
    return {"authorization": f"Bearer {token(*scopes)}"}


def client(**options: Any) -> httpx.AsyncClient:
    """Let in everywhere."""
    usual: dict[str, Any] = {"trust_env": False, "timeout": WITHIN_S, "headers": headers()}
    return httpx.AsyncClient(**(usual | options))
