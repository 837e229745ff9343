"""The cases of the conformance kit: what is in `conformance/`, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIT = Path(__file__).parents[2] / "conformance"

ACTIONS = ("connect", "server", "frame", "submit", "read", "cut", "close", "restart")
"""A step does exactly one of these."""
EXPECTED = (
    *("hello", "sends", "offset", "renews", "shows", "marks", "sent", "rejected"),
    *("caughtUp", "ends", "stores"),
)
"""What a step says that the client does in answer. What it does not say must not happen, but for
`stores`, which is looked at only where it is given.
"""
BESIDES = ("queries", "repeat", "note")

Step = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A scripted exchange. `rule` is the number of a rule of docs/reference/protocol.md, or a word
    for what that page says outside the rules.
    """

    name: str
    about: str
    rule: int | str
    user: str
    device_id: str
    steps: list[Step]

    @classmethod
    def read(cls, path: Path) -> Case:
        """Read a case from its file."""
        return cls.made(str(path.relative_to(KIT).with_suffix("")), path.read_text())

    @classmethod
    def made(cls, name: str, text: str) -> Case:
        """Make a case of its JSON."""
        found = json.loads(text)
        of = found["about"], found["rule"], found["user"], found["deviceId"], found["steps"]
        return cls(name, *of)


def action_of(step: Step) -> str:
    """Return what a step does. Raises `ValueError` if it is not exactly one thing."""
    (action,) = [each for each in ACTIONS if each in step]
    return action


def cases() -> list[Case]:
    """Return all cases of the kit, those that were generated after those written by hand."""
    return [Case.read(path) for path in sorted(KIT.glob("*/*.json"))]
