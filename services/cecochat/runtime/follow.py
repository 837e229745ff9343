"""Following the central configuration while running; a document that is not valid changes
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.configuration import Config, parse
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.configuration import CONFIGURATION, Configuration

log = logging.getLogger(__name__)


async def follow(
    configuration: Configuration, registry: CollectorRegistry, apply: Callable[[Config], None]
) -> None:
    """Apply the configuration now and after each change, until cancelled; the last good one stays
    in force.
    """
    version = Gauge(
        "cecochat_configuration_version",
        "Version of the configuration in force.",
        registry=registry,
    )
    refused = Counter(
        "cecochat_configuration_refused", "Documents that are not valid.", registry=registry
    )
    async with aclosing(configuration.watch(CONFIGURATION)) as documents:
        async for document in documents:
            try:
                config = parse(document.value)
            except InvalidSettings as error:
                refused.inc()
                log.error(
                    "configuration version %s is not valid and not followed: %s",
                    document.version,
                    error,
                )
                continue
            apply(config)
            logging.getLogger("cecochat").setLevel(config.log_level.upper())
            version.set(document.version)
