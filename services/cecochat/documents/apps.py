"""Follows which apps there are."""

from __future__ import annotations

from collections.abc import Callable

from cecochat.documents.follow import Following, follow_document
from cecochat.domain.cluster import apps
from cecochat.domain.cluster.apps import Apps
from cecochat.ports.configuration import APPS


async def follow_apps(following: Following, apply: Callable[[Apps], None]) -> None:
    """Apply the apps now and after each change, until cancelled."""
    await follow_document(following, APPS, apps.parse, apply)
