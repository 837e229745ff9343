"""Where the log of a server in the foreground goes."""

from __future__ import annotations

import logging


def to_standard_error(who: str = "") -> None:
    """Warnings and errors as lines, with `who` before the name of what says it."""
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s"
    )
    logging.getLogger("sanic").setLevel(logging.ERROR)  # it warns of being in production mode
