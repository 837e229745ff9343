"""The systemd units of a node: one for each backend and server, with limits and a user."""

from __future__ import annotations

from collections.abc import Mapping

MEMORY = {
    "consul": "400M",
    "nomad": "2600M",  # the servers that it runs count too
    "kafka": "900M",
    "cassandra": "1500M",
    "redis": "300M",
    "postgres": "400M",
    "jaeger": "400M",
    "prometheus": "500M",
    "edge": "256M",
}
SERVER_MEMORY = "512M"

WRITTEN = "# Written by scripts/cluster: do not edit.\n"
UNIT = """\
[Unit]
Description={about}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=cecochat
Environment={environment}
WorkingDirectory={folder}
ExecStart={command}
Restart=always
RestartSec=2
TimeoutStopSec={stop_s}
{children}
LimitNOFILE=65536
TasksMax=4096
MemoryMax={memory}
NoNewPrivileges=true
ProtectSystem=full

[Install]
WantedBy=multi-user.target
"""


THEIR_END = "KillMode=mixed\nPrivateTmp=true"
OUTLIVE = "KillMode=process"  # and are found again by sockets, in a /tmp that is no start's own


def unit(
    about: str,
    command: str,
    memory: str,
    environment: Mapping[str, str],
    folder: str,
    stop_s: int,
    children: str = THEIR_END,
) -> str:
    """Return the text of a unit. `children` says what becomes of its processes at a restart."""
    return WRITTEN + UNIT.format(
        about=about,
        command=command,
        memory=memory,
        environment=" ".join(f"{key}={value}" for key, value in environment.items()),
        folder=folder,
        stop_s=stop_s,
        children=children,
    )
