"""The apps: products that share a system, each with users, groups and keys of its own.

The document is `{"apps": {NAME: {"created_ms": MS, "enabled": BOOL, "keys": JWKS, "issuer": ISS,
"erased_ms": MS}}}`; all but the first time may be absent. MS are ms since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from cecochat.domain.errors import Invalid, InvalidSettings, Refusal
from cecochat.domain.log.ids import app_name
from cecochat.v1 import errors_pb2

APPS_MAX: Final = 200
KEYS_MAX: Final = 10
ISSUER_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class App:
    """An app. `keys` is the JSON Web Key Set (RFC 7517) that alone verifies the tokens of its users
    and services, and `issuer` what their `iss` names; with None, the keys and the issuer of the
    system do. `erased_ms` is when all that its users wrote was erased; 0: it was not.
    """

    name: str
    created_ms: int
    enabled: bool = True
    keys: Mapping[str, Any] | None = None
    issuer: str = ""
    erased_ms: int = 0


Apps = Mapping[str, App]
"""By name."""
Decide = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What `Configuration.change` takes."""


def check(apps: Apps, name: str) -> None:
    """Raise `Refusal` unless nobody's app, or one that may be used now, is named."""
    if name and name not in apps:
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAUTHENTICATED,
            f"this system has no app {name!r:.30}: ask an operator to add it, or get a token of "
            "another app",
        )
    if name and apps[name].erased_ms:
        raise Refusal(
            errors_pb2.ERROR_CODE_ERASED,
            f"the app {name} was erased and can never be used again: use another app",
        )
    if name and not apps[name].enabled:
        raise Refusal(
            errors_pb2.ERROR_CODE_BANNED,
            f"the app {name} is disabled: only an operator can change that",
        )


def parse(document: Any) -> Apps:
    """Read the apps from their document. Raises `InvalidSettings`."""
    if not isinstance(document, Mapping) or not {"apps"}.issuperset(document):
        raise InvalidSettings(f"the apps are {document!r:.80}: use an object of apps")
    found = document.get("apps", {})
    if not isinstance(found, Mapping) or len(found) > APPS_MAX:
        raise InvalidSettings(f"the apps are not an object of at most {APPS_MAX}")
    return {str(name): _app(str(name), value) for name, value in found.items()}


def _app(name: str, value: Any) -> App:
    try:
        made = App(app_name(name), **value)
        _check(made)
    except TypeError as error:
        raise InvalidSettings(f"the app {name!r:.30} is wrong: {error}") from None
    except Invalid as refusal:
        raise InvalidSettings(f"the app {name!r:.30} is wrong: {refusal.message}") from None
    return made


def _check(app: App) -> None:
    if not isinstance(app.enabled, bool) or not isinstance(app.created_ms, int):
        raise Invalid("enabled is true or false, and created_ms a whole number")
    if not isinstance(app.erased_ms, int) or (app.erased_ms and app.enabled):
        raise Invalid("it was erased, so it can never be enabled again: add another one")
    if not isinstance(app.issuer, str) or len(app.issuer) > ISSUER_MAX:
        raise Invalid(f"the issuer is a text of at most {ISSUER_MAX} characters")
    if app.issuer and app.keys is None:
        raise Invalid("an issuer goes with keys of the app: give these, too")
    match app.keys:
        case None:
            return
        case {"keys": list(keys)} if 0 < len(keys) <= KEYS_MAX:
            return
    raise Invalid(f"the keys are no key set of 1 to {KEYS_MAX} keys")


def document_of(apps: Apps) -> dict[str, Any]:
    """Return the document in which these apps are stored."""
    return {"apps": {name: _as_json(each) for name, each in apps.items()}}


def _as_json(app: App) -> dict[str, Any]:
    fields = asdict(app)
    del fields["name"]
    return fields


def adding(app: App) -> Decide:
    """Return what adds an app. It raises `Refusal`."""
    app_name(app.name)
    _check(app)

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        if app.name in found and found[app.name].erased_ms:
            raise Invalid(f"the app {app.name} was erased, so choose a name that was never used")
        if app.name in found:
            raise Invalid(f"there is an app {app.name} already: change it")
        if len(found) >= APPS_MAX:
            raise Invalid(f"there are {APPS_MAX} apps, and more are not allowed")
        return document_of({**found, app.name: app})

    return decide


def changing(name: str, **changes: Any) -> Decide:
    """Return what changes some fields of an app. It raises `Invalid`."""

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        changed = replace(named(found, name), **changes)
        _check(changed)
        return document_of({**found, name: changed})

    return decide


def erasing(name: str, at_ms: int) -> Decide:
    """Return what disables an app for good, at a time in ms since 1970. It raises `Invalid`. If it
    is done again, the first time stays.
    """

    def decide(document: Mapping[str, Any]) -> Mapping[str, Any]:
        found = parse(document)
        app = named(found, name)
        erased = replace(app, enabled=False, erased_ms=app.erased_ms or at_ms)
        return document_of({**found, name: erased})

    return decide


def named(apps: Apps, name: str) -> App:
    """Return the app of that name. Raises `Invalid`."""
    if name in apps:
        return apps[name]
    there = ", ".join(sorted(each for each in apps if not apps[each].erased_ms)) or "none"
    raise Invalid(f"there is no app {name!r:.30}: use one of {there}")
