"""A program for a deployment to run: it says that it is ready, as a server does, and waits."""

from __future__ import annotations

import json
import os
import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ready = {
    "service": "messaging",
    "instance_id": f"idle-{os.getpid()}",
    "address": "127.0.0.1:1",
    "health_url": "http://127.0.0.1:1",
    "version": "1.0",
}
print(json.dumps(ready), flush=True)
signal.pause()
