"""Write what follows from the code: reference pages, telemetry.md, Nomad jobs and dashboards.

python -m scripts.reference
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cecochat import client
from cecochat.cli.main import app
from cecochat.client import backend, sync, syncbackend
from cecochat.domain.cluster.configuration import KEYS
from cecochat.domain.cluster.limits import APP_KEYS
from cecochat.domain.errors import RETRIABLE
from cecochat.runtime import grpc, http
from cecochat.settings.settings import declared, variable
from cecochat.v1 import errors_pb2
from scripts import dashboards, jobs, openapi, telemetry
from scripts.markdown import in_code, page, table

ROOT = Path(__file__).resolve().parent.parent
ERRORS_PROTO = ROOT / "protos" / "cecochat" / "v1" / "errors.proto"

RULES_PAGE = "docs/explanation/rules.md"

COLUMNS = 100


def pages() -> dict[str, str]:
    """Return the text of each file, by its path in this repository."""
    return {
        "docs/reference/settings.md": page(SETTINGS, _settings()),
        "docs/reference/configuration.md": page(CONFIGURATION, _configuration()),
        "docs/reference/errors.md": page(ERRORS, _errors()),
        "docs/reference/cli.md": page(CLI, "\n".join(_cli())),
        "docs/reference/python-client.md": page(CLIENT, "\n".join(_client())),
        "docs/reference/backend-client.md": page(BACKEND, "\n".join(_backend())),
        RULES_PAGE: _with_rules((ROOT / RULES_PAGE).read_text()),
        "observability/telemetry.md": telemetry.text(),
        **jobs.files(),
        openapi.FILE: openapi.text(),
    }


# -- settings

SETTINGS = """
# Settings

Settings are environment variables that a server process reads at its start. Each is a field of
`Settings` in `services/cecochat/settings/settings.py`, or is declared by `backend.py` in a folder
of `services/cecochat/adapters/`. Flags of `cecochat up` override them. An unknown or malformed
variable with the prefix `CECOCHAT_` stops the start, and the message names it. What can be changed
while servers run is in [Configuration](configuration.md).
"""
_FOLDER = "`cecochat/default` in the user's data folder (Linux: `~/.local/share`)"


def _settings() -> str:
    rows = []
    for field in declared().values():
        default = _FOLDER if field.default is MISSING else in_code(_shown(field.default))
        low, high = field.metadata["low"], field.metadata["high"]
        allowed = f"{low:,} to {high:,}" if field.type == "int" else ""
        rows.append((f"`{variable(field.name)}`", default, allowed, field.metadata["meaning"]))
    return table("Variable | Default | Range | Meaning", rows)


def _shown(default: object) -> object:
    return "" if default is None else default


# -- configuration

CONFIGURATION = """
# Configuration

The central configuration is one versioned document. Change it with `cecochat config set KEY VALUE`,
and running servers follow within 2 s. The command refuses a key that is unknown, and a value of
another type or out of range. If a document is not valid all the same, nobody follows it: the last
good one stays in force, and the metric `cecochat_configuration_refused_total` counts it.
[How to change it](../how-to/change-the-configuration.md).

What can be set per app may have another value for one
[app](../how-to/share-a-system.md#what-an-app-may-take), as `app.NAME.KEY`: for example
`app.shop.text.max_bytes`.
"""


def _configuration() -> str:
    rows = [
        (
            f"`{name}`",
            in_code(default),
            key.unit,
            _range(key.low, key.high),
            key.meaning,
            key.followed_by,
            "yes" if name in APP_KEYS else "",
        )
        for name, (_, key, default) in KEYS.items()
    ]
    return table("Key | Default | Unit | Range | Meaning | Followed by | Per app", rows)


def _range(low: float, high: float) -> str:
    return f"{low:,.10g} to {high:,.10g}" if high else ""


# -- errors

ERRORS = """
# Errors

A refusal has a code, a message for a person, whether the same call can succeed later (`retriable`),
and how long to wait before that. Over gRPC it is the `Disconnect` item that ends a stream, or the
trailer `cecochat-error-bin` of a failed call, which is a serialized `cecochat.v1.Error`. Over HTTP
it is JSON with the code in lower case: `{"error": {"code": "unauthenticated", "message": "...",
"retriable": false, "retry_after_ms": 0}}`. A code never changes its meaning. Act on the code: the
gRPC or HTTP status is only its translation. A code without an HTTP status only comes over gRPC.
What HTTP itself refuses (404, 405, ...) keeps its status and has the nearest code.
"""


def _errors() -> str:
    rows = []
    for name, number, comment in _codes(ERRORS_PROTO.read_text()):
        code = errors_pb2.ErrorCode.Value(name)
        status = grpc.STATUS[code].name if code in grpc.STATUS else "INTERNAL"
        internal = code == errors_pb2.ERROR_CODE_INTERNAL
        http_status = http.STATUS.get(code, 500 if internal else "")
        short = name.removeprefix("ERROR_CODE_")
        retriable = "yes" if code in RETRIABLE else "no"
        rows.append((number, f"`{short}`", retriable, f"`{status}`", http_status, comment))
    return table("Number | Code | Retriable | gRPC status | HTTP | Meaning", rows)


def _codes(proto: str) -> Iterator[tuple[str, int, str]]:
    """Yield name, number and comment of each code except the unspecified one."""
    for comment, name, number in re.findall(r"((?: *//.*\n)+) *(ERROR_CODE_\w+) = (\d+);", proto):
        yield name, int(number), " ".join(re.findall(r"// ?(.*)", comment))


# -- command line

CLI = """
# Command line

Every command prints this with `--help`. It finds the system by `--connect` or
`CECOCHAT_CONNECT_URL`, or else takes the one that `cecochat up` started last on this machine.
`--as USER` works if that system's development secret is readable here; otherwise the token says who
you are. Data goes to standard output, and everything else to standard error.
"""


def _cli() -> Iterator[str]:
    root = typer.main.get_command(app([]))
    assert isinstance(root, TyperGroup)
    yield from _command("cecochat", root, 1)


def _command(path: str, command: TyperCommand | TyperGroup, depth: int) -> Iterator[str]:
    if depth > 1:
        yield f"{'#' * min(depth, 4)} {path}\n"
    yield (command.help or "").strip() + "\n"
    yield from _usage(path, command)
    yield from _parameters(command)
    if command.epilog:
        yield re.sub(r"^Example: (.*)$", r"Example: `\1`", command.epilog) + "\n"
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            if not inner.hidden:
                assert isinstance(inner, TyperCommand | TyperGroup)
                yield from _command(f"{path} {name}", inner, depth + 1)


def _usage(path: str, command: TyperCommand | TyperGroup) -> Iterator[str]:
    arguments = [
        (f"{name}" if each.required else f"[{name}]") + ("..." if each.nargs == -1 else "")
        for each in command.params
        if isinstance(each, TyperArgument) and (name := (each.metavar or each.name or "").upper())
    ]
    inner = ["COMMAND ..."] if isinstance(command, TyperGroup) else []
    yield f"```text\n{' '.join([path, '[OPTIONS]', *arguments, *inner])}\n```\n"


def _parameters(command: TyperCommand | TyperGroup) -> Iterator[str]:
    rows = [
        (_names(each), _default(each), each.help or "")
        for each in command.params
        if isinstance(each, TyperArgument | TyperOption) and not each.hidden
    ]
    if rows:
        yield table("Parameter | Default | Meaning", rows) + "\n"


def _names(parameter: TyperArgument | TyperOption) -> str:
    if isinstance(parameter, TyperArgument):
        return f"`{(parameter.metavar or parameter.name or '').upper()}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    variables = parameter.envvar or ""
    return f"{names} (`{variables}`)" if variables else names


def _default(parameter: TyperArgument | TyperOption) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default is None or default is False or callable(default) else f"`{default}`"


# -- rules of a client


def _with_rules(text: str) -> str:
    """Return a page with its last table written anew: the rules of `conformance/rules.json`."""
    rules = json.loads((ROOT / "conformance" / "rules.json").read_text())
    rows = [(each["rule"], each["name"], f"`{each['case']}`") for each in rules]
    head = "protocol | the rule | a case that fails without it"
    return f"{text[: text.index(f'| {head} |')]}{table(head, rows)}\n"


# -- Python client

CLIENT = """
# Python client

`from cecochat.client import ...`; asyncio, typed. [A bot in 20 lines](../tutorials/a-bot.md) is
how it is used. Every error is a `ChatError` with a `code` that never changes its meaning. For
programs without asyncio there is [the synchronous client](#the-synchronous-client).
"""


def _client() -> Iterator[str]:
    yield from _members(client)
    yield f"# The synchronous client\n\n{_docstring(sync)}\n"
    yield from _members(sync)


BACKEND = """
# Python client of a back end

[Act for your users](../how-to/act-for-users.md) is how it is used. Errors, and what queries
answer, are those of [the client of users](python-client.md).
"""


def _backend() -> Iterator[str]:
    for module in (backend, syncbackend):
        yield f"# `{module.__name__}`\n\n{_docstring(module)}\n"
        yield from _members(module)


def _members(module: ModuleType) -> Iterator[str]:
    listed = {name: getattr(module, name) for name in module.__all__}
    functions = {n: o for n, o in listed.items() if inspect.isfunction(o)}
    errors = {n: o for n, o in listed.items() if _is_error(o)}
    classes = {n: o for n, o in listed.items() if inspect.isclass(o) and n not in errors}
    for title, members in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        if members:
            yield f"## {title}\n"
        for name, member in members.items():
            yield from _member(name, member)


def _is_error(member: object) -> bool:
    return inspect.isclass(member) and issubclass(member, Exception)


def _member(name: str, member: Any, level: str = "###") -> Iterator[str]:
    """Describe a function, or a class with its fields, properties and public methods."""
    yield f"{level} {name}\n"
    if inspect.isfunction(member):
        yield f"```text\n{name}{_signature(member)}\n```\n"
    yield f"{_docstring(member)}\n"
    if is_dataclass(member):
        yield "Fields: " + ", ".join(f"`{f.name}: {f.type}`" for f in fields(member)) + ".\n"
    if inspect.isclass(member) and not _is_error(member):
        yield from _attributes(member)


def _attributes(owner: type) -> Iterator[str]:
    """Describe what a class has of its own, and what it has of classes that no program sees."""
    hidden = (
        each
        for each in reversed(owner.__mro__)
        if each is owner or (each.__module__.startswith("cecochat") and not _is_public(each))
    )
    members = {name: member for each in hidden for name, member in vars(each).items()}
    public = {n: a for n, a in members.items() if not n.startswith("_") or n == "__anext__"}
    for name, attribute in public.items():
        if isinstance(attribute, property):
            yield f"`{name}`: {_docstring(attribute)}\n"
    for name, attribute in public.items():
        if inspect.isfunction(attribute):
            yield from _member(f"{owner.__name__}.{name}", attribute, "####")


def _is_public(owner: type) -> bool:
    return owner.__name__ in (*client.__all__, *sync.__all__, *backend.__all__)


def _docstring(member: object) -> str:
    """Return a docstring as Markdown. Code in it is indented, as Markdown wants it."""
    return inspect.getdoc(member) or ""


def _signature(function: Any) -> str:
    """Return a signature without `self`, on one line, or with a line per parameter."""
    signature = inspect.signature(function)
    given = [each for each in signature.parameters.values() if each.name != "self"]
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=given)))
    if len(text) < COLUMNS:
        return text
    words = re.sub(r", (?=\*|\w+:)", ",\n    ", text)
    return re.sub(r"^\((.*)\)( ->.*)?$", r"(\n    \1,\n)\2", words, flags=re.S)


if __name__ == "__main__":
    for path, text in pages().items():
        (ROOT / path).write_text(text)
    for file_name, text in dashboards.files().items():
        (dashboards.FOLDER / file_name).write_text(text)
