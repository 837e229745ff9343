"""Units of systemd: one for each backend and server of a node, with limits and an own user."""

from __future__ import annotations

from collections.abc import Mapping

MEMORY = {
    "consul": "400M",
    "nomad": "2600M",  # the servers that it runs count too
    "kafka": "900M",
    "cassandra": "1500M",
    "redis": "300M",
    "jaeger": "400M",
    "prometheus": "500M",
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
KillMode=mixed
LimitNOFILE=65536
TasksMax=4096
MemoryMax={memory}
NoNewPrivileges=true
ProtectSystem=full
PrivateTmp=true

[Install]
WantedBy=multi-user.target
"""


def unit(
    about: str, command: str, memory: str, environment: Mapping[str, str], folder: str, stop_s: int
) -> str:
    """The text of a unit."""
    return WRITTEN + UNIT.format(
        about=about,
        command=command,
        memory=memory,
        environment=" ".join(f"{key}={value}" for key, value in environment.items()),
        folder=folder,
        stop_s=stop_s,
    )
