"""How much memory a process takes while it is attacked."""

from __future__ import annotations

from pathlib import Path

LIMIT_BYTES = 512 << 20
"""What a deployment gives a server: jobs/messaging.nomad.hcl."""


def peak_bytes(pid: int) -> int:
    """The most that has been resident since the process began (Linux: VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory")
