"""Sends the log of a server in the foreground to standard error."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from cecochat.cli import failure
from cecochat.telemetry.logs import ACCESS, OWN, JsonLines, TextLines, handler


def to_standard_error(
    form: str, service: str = "", instance_id: str = "", *, level: int = logging.WARNING
) -> None:
    """Log to standard error in `form`: json, text, or auto (text on a terminal, JSON elsewhere).

    `level` is for CecoChat's own lines until the configuration sets it. Libraries log warnings.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    lines = JsonLines(service=service, instance_id=instance_id) if as_json else TextLines(service)
    logging.basicConfig(level=logging.WARNING, handlers=[handler(lines)])
    logging.getLogger(OWN).setLevel(level)
    logging.getLogger(ACCESS).setLevel(logging.INFO)  # whatever the configuration says
    logging.getLogger("sanic").setLevel(logging.ERROR)  # it warns about being in production mode
    if as_json:
        sys.excepthook = _end


def say(text: str, level: int = logging.CRITICAL) -> None:
    """Print one line on standard error, as a line of the log if that is JSON."""
    if any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers):
        logging.getLogger(OWN).log(level, "%s", text)
    else:
        failure.say(text)


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(OWN).critical(
        "this process ends with an error", exc_info=(kind, error, traceback)
    )
