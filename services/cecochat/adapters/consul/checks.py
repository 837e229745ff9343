"""What `cecochat doctor` checks in Consul."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from cecochat.domain.errors import CecochatError
from cecochat.ports.discovery import SERVICES, Discovery, Unproven
from cecochat.settings.backends import Finding

Open = Callable[[], AbstractAsyncContextManager[Discovery]]


def registrations(open_discovery: Open) -> Finding:
    """Check whether Consul lists servers that are not of this cluster."""
    try:
        live, unproven = asyncio.run(_registered(open_discovery))
    except CecochatError as error:
        return Finding("registrations", "wrong", str(error), "check the settings for Consul")
    if unproven:
        names = ", ".join(f"{each.registered_id} at {each.address}" for each in unproven)
        mend = "see docs/runbook.md, A registration that nobody signed"
        found = f"these are not signed with the secret of this cluster: {names}"
        return Finding("registrations", "wrong", found, mend)
    return Finding("registrations", "ok", f"there are {live} servers of this cluster and no others")


async def _registered(open_discovery: Open) -> tuple[int, tuple[Unproven, ...]]:
    async with open_discovery() as discovery:
        return sum(len(discovery.live(each)) for each in SERVICES), discovery.unproven
