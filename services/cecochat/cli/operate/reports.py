"""`cecochat moderate reports` and so on: works off what users report, and shows what was done."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from cecochat.cli import options
from cecochat.cli.asking import Server, ask_desk
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table, shown_ms

OF_REPORTS = "Examples: cecochat moderate reports; cecochat moderate reports --state done --json"
OF_DECIDE = (
    "Examples: cecochat moderate decide 5f1d77c0a9b2 dismissed; "
    "cecochat moderate decide 5f1d77c0a9b2 warned --note 'the second time'"
)
REPORT_HELP = "Its id, as `moderate reports` prints it."
ReportId = Annotated[str, typer.Argument(metavar="REPORT", help=REPORT_HELP)]
By = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The moderator. By default the user of this machine."),
]
Over = Annotated[bool, typer.Option("--over", help="Take it from the moderator who has it.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog=OF_REPORTS)(reports)
    app.command(epilog="Example: cecochat moderate take 5f1d77c0a9b2")(take)
    app.command(epilog=OF_DECIDE)(decide)
    app.command(epilog="Examples: cecochat moderate log; cecochat moderate log --json")(log)


def reports(
    state: Annotated[
        Literal["open", "taken", "done"], typer.Option(help="Which reports to print.")
    ] = "open",
    after: Annotated[
        str, typer.Option(metavar="REPORT", help="Go on after this one, the last of a page.")
    ] = "",
    limit: Limit = 50,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print the reports in a state, the oldest first, with what they report as it is now."""
    params = {"state": state, "after": after, "limit": str(limit)}
    page = run(ask_desk("GET", "reports", "reports", server, settings, **params))
    if json:
        for each in page["reports"]:
            json_line(each)
    elif not page["reports"]:
        echo(f"there is no report that is {state}")
    else:
        for each in page["reports"]:
            _print(each)
    _say_more(page, "after", page["reports"])


def take(
    report: ReportId,
    by: By = None,
    over: Over = False,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Take a report, so that other moderators leave it to you.

    The exit code is 1 if another one has it.
    """
    _act(report, "take", server, settings, as_json=json, by=by, over=over)


def decide(
    report: ReportId,
    decision: Annotated[
        str, typer.Argument(help="A code of your choice: up to 32 of a-z, 0-9, _ and -.")
    ],
    note: Annotated[
        str, typer.Option(help="For other moderators. It is kept for good: quote no texts.")
    ] = "",
    by: By = None,
    over: Over = False,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Decide about a report, for good.

    This only notes the decision. What is to be done about it, such as a ban, is a step of its own.
    """
    params = {"decision": decision, "note": note}
    _act(report, "decide", server, settings, as_json=json, by=by, over=over, **params)


def log(
    before: Annotated[
        str, typer.Option(metavar="ACT", help="Go on below this one, the last of a page.")
    ] = "",
    limit: Limit = 50,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print what moderators did, the newest first."""
    params = {"before": before, "limit": str(limit)}
    page = run(ask_desk("GET", "acts", "acts", server, settings, **params))
    if json:
        for each in page["acts"]:
            json_line(each)
    elif not page["acts"]:
        echo("moderators have done nothing yet")
    else:
        print_table([("WHEN", "BY", "WHAT", "ON", "REPORT", "WHY"), *map(_line, page["acts"])])
    _say_more(page, "before", page["acts"])


def _act(
    report: str,
    what: str,
    server: str | None,
    settings: Path | None,
    *,
    as_json: bool,
    by: str | None,
    over: bool,
    **params: str,
) -> None:
    params |= {"moderator": by or getpass.getuser()}
    if over:
        params["over"] = "true"
    path = f"reports/{quote(report, safe='')}/{what}"
    found = run(ask_desk("POST", path, "report", server, settings, **params))["report"]
    if as_json:
        json_line(found)
    else:
        _print(found)


def _print(report: dict[str, Any]) -> None:
    message = report.get("message")
    where = f" in {report['chat_id']}, message {report['message_id']}" if report["chat_id"] else ""
    echo(f"{report['id']}  {shown_ms(int(report['reported_at_ms']))}  {_state(report)}")
    echo(f"    {report['reporter_id']} reports {report['user_id']}{where}: {report['reason']}")
    if said := "(erased)" if report["is_text_erased"] else report["text"]:
        echo(f"    {report['reporter_id']} says: {_indented(said)}")
    if report["chat_id"]:
        echo(f"    {report['user_id']} wrote: {_indented(_wrote(message))}")
    if report["note"]:
        echo(f"    note: {_indented(report['note'])}")


def _state(report: dict[str, Any]) -> str:
    names = {"STATE_OPEN": "open", "STATE_TAKEN": f"taken by {report['moderator']}"}
    return names.get(report["state"], f"{report['decision']}, by {report['moderator']}")


def _wrote(message: dict[str, Any] | None) -> str:
    said = message.get("message", {}) if message else {}
    if said.get("erased"):
        return "(erased)"
    if text := said.get("text"):
        return str(text)
    return "(files)" if said.get("attachments") else "(it is gone)"


def _indented(text: str) -> str:
    return text.replace("\n", "\n        ")


def _line(act: dict[str, Any]) -> tuple[str, ...]:
    what = f"{act['what']}: {act['detail']}" if act["detail"] else act["what"]
    on = " ".join(filter(None, (act["user_id"], act["chat_id"])))
    return shown_ms(int(act["at_ms"])), act["by"], what, on, act["report_id"], act["reason"]


def _say_more(page: dict[str, Any], option: str, found: list[dict[str, Any]]) -> None:
    if page["has_more"]:
        echo(f"there are more: add --{option} {found[-1]['id']}", err=True)
