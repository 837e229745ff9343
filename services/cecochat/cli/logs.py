"""Where the log of a server in the foreground goes."""

from __future__ import annotations

import logging


def to_standard_error(who: str = "", level: int = logging.WARNING) -> None:
    """Lines, with `who` before the name of what says it. `level`: of CecoChat's own, until the
    configuration says; of others it is warnings.
    """
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s"
    )
    logging.getLogger("cecochat").setLevel(level)
    logging.getLogger("sanic").setLevel(logging.ERROR)  # it warns of being in production mode
