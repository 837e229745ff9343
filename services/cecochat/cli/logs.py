"""Where the log of a server in the foreground goes."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from cecochat.cli import failure
from cecochat.telemetry.logs import ACCESS, OWN, JsonLines, TextLines, handler


def to_standard_error(
    form: str, service: str = "", instance_id: str = "", *, level: int = logging.WARNING
) -> None:
    """Lines in `form`: json or text; auto: text on a terminal, else JSON. `level`: of CecoChat's
    own, until the configuration says; of others it is warnings.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    lines = JsonLines(service=service, instance_id=instance_id) if as_json else TextLines(service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler(lines)])
    logging.getLogger(OWN).setLevel(level)
    logging.getLogger(ACCESS).setLevel(logging.INFO)  # whatever the configuration says
    logging.getLogger("sanic").setLevel(logging.ERROR)  # it warns of being in production mode
    if as_json:
        sys.excepthook = _end


def say(text: str, level: int = logging.CRITICAL) -> None:
    """One line on standard error, which is one of the log where that is JSON."""
    if any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers):
        logging.getLogger(OWN).log(level, "%s", text)
    else:
        failure.say(text)


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(OWN).critical("ended by an error", exc_info=(kind, error, traceback))
