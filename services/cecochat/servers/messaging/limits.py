"""The limits of a stream, as its client is told them, and those that an owner works within."""

from __future__ import annotations

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.log.limits import SendLimits
from cecochat.domain.session import intake
from cecochat.v1.messaging_pb2 import Limits


def limits(config: Config) -> Limits:
    """Return the limits that are in force for a new stream."""
    return Limits(
        frame_max_bytes=intake.FRAME_MAX_BYTES,
        text_max_bytes=config.text_max_bytes,
        sends_per_frame_max=intake.SENDS_PER_FRAME_MAX,
        queue_max_bytes=config.queue_max_bytes,
        sends_rate_per_s=config.sends_rate_per_user,
        sends_burst=config.sends_burst,
    )


def follow(owners: SendLimits, config: Config) -> None:
    """Have owners work within the limits of a configuration, and of each app in it."""
    owners.text_max_bytes = config.text_max_bytes
    owners.members_max = config.groups_members_max
    owners.made_max = config.groups_made_max
    of_apps = {name: SendLimits() for name in config.apps}
    for name, own in of_apps.items():
        follow(own, config.apps[name])
    owners.apps = of_apps
