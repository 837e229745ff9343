"""The cases of the kit that come from runs of the simulator.

For each thing that is worth showing, it takes the first devices that went through it and that a
case can tell of, in seeds of their own order. So the files depend on nothing but the code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.conformance.case import Step
from tests.conformance.recording import Recorded
from tests.sim import schedule, world
from tests.sim.shape import DEVICES, GROUP

NAMES = {"a": "alice", "b": "bea", "c": "carol", "d": "dan"}
"""Users of the simulator by partition, named so that murmur2 puts them there."""
PARTITIONS = 3
STEPS_MAX = 60
EACH = 2  # cases for each feature
SEEDS = 10_000  # where they are looked for
LIMITS = {"frameMaxBytes": 64 << 10, "sendsPerFrameMax": 256}
# Nobody edits positions, as "elsewhere" does, and no group changes: there are none.
CALM = {"elsewhere": 0.0, "member": 0.0, "unfit": 0.5, "cut": 2.0, "reload": 3.0}
GAPS = {"commit": 3.0, "land_commit": 3.0, "commit_materialized": 3.0, "materialize": 2.0}
GAPS |= {"trim": 6.0, "release": 3.0, "cut": 4.0, "connect": 0.5, "fill": 2.0, "crash": 0.3}


class Feature(NamedTuple):
    """Something that a case may show: a phrase for people, and whether a device shows it."""

    about: str
    shown_by: Callable[[list[Step]], bool]


def _has(*keys: str) -> Callable[[list[Step]], bool]:
    return lambda steps: any(step.keys() >= set(keys) for step in steps)


def _queries(steps: list[Step]) -> Iterator[dict[str, Any]]:
    return (query for step in steps for query in step.get("queries", ()))


def _pages(steps: list[Step]) -> bool:
    pages = [query.get("answer", {}) for query in _queries(steps) if "getMessages" in query]
    return any(page.get("hasMore") for page in pages)


def _holes(steps: list[Step]) -> bool:
    return any(query.get("answer", {}).get("holes") for query in _queries(steps))


def _fails(steps: list[Step]) -> bool:
    return any("error" in query for query in _queries(steps))


def _resends(steps: list[Step]) -> bool:
    return any(len(step.get("sends", ())) > 1 for step in steps if step.get("caughtUp"))


FEATURES = {
    "gap": Feature("a gap that is filled", _has("queries", "shows")),
    "pages": Feature("a gap in pages", _pages),
    "hole": Feature("a gap with a hole", _holes),
    "fails": Feature("a gap whose filling fails", _fails),
    "found": Feature("an own send that is found in a gap", _has("queries", "sent")),
    "resend": Feature("sends that are sent again", _resends),
    "own-event": Feature("an own event that is the ack", _has("sent", "caughtUp")),
    "restart": Feature("restarts", _has("restart", "stores")),
    "refused": Feature("a refusal", _has("rejected")),
}


def generated() -> dict[str, dict[str, Any]]:
    """Return the cases by their names."""
    found: dict[str, dict[str, Any]] = {}
    shown: Counter[str] = Counter()
    for seed in range(SEEDS):
        for device in _devices(seed):
            new = [name for name in FEATURES if FEATURES[name].shown_by(device.steps)]
            if any(shown[name] < EACH for name in new):
                shown.update(new)
                found[f"seed-{seed}-{device.name}"] = _case(seed, device, new)
        if all(shown[name] >= EACH for name in FEATURES):
            return found
    missing = [name for name in FEATURES if shown[name] < EACH]
    raise AssertionError(f"no device in {SEEDS} seeds shows {missing}")


def _devices(seed: int) -> list[Recorded]:
    """Return the devices of a run that a case can tell of."""
    devices: list[Recorded] = []

    def made(its_world: world.World, name: str) -> Recorded:
        devices.append(Recorded(its_world, name))
        return devices[-1]

    senders = [each for each in schedule.SENDERS if each[1] != GROUP]
    with (
        patch.object(world, "Client", made),
        patch.object(schedule, "SENDERS", senders),
        patch.object(world.World, "do_found", lambda _: False),
        patch.object(world.World, "do_member", lambda *_: False),
        patch.object(schedule, "afterwards", lambda _: True),
        patch.object(schedule, "mend", lambda _: True),
    ):
        run = schedule.random_run(
            seed, schedule.STEPS // 2, weights=CALM | (GAPS if seed % 2 else {})
        )
    assert not run.broken
    assert [each.name for each in devices] == list(DEVICES)
    return [each for each in devices if each.usable and 5 < len(each.steps) <= STEPS_MAX]


def _case(seed: int, device: Recorded, features: list[str]) -> dict[str, Any]:
    steps = [*device.steps, {"restart": True, "stores": device.stores()}]
    shown = ", ".join(FEATURES[name].about for name in features)
    return {
        "about": f"What device {device.name} went through in a run of the simulator: {shown}.",
        "rule": "all",
        "user": NAMES[device.user],
        "deviceId": device.name,
        "steps": [_welcomed(_named(step), NAMES[device.user]) for step in steps],
    }


_CHAT = re.compile(r"d:([a-d])~([a-d])")


def _named(value: Any) -> Any:
    """Return JSON of the simulator with the names, texts and limits of the kit."""
    if isinstance(value, dict):
        named = {_named(key): _named(each) for key, each in value.items()}
        return _completed(named)
    if isinstance(value, list):
        return [_named(each) for each in value]
    if isinstance(value, str) and (found := _CHAT.fullmatch(value)):
        return f"d:{NAMES[found[1]]}~{NAMES[found[2]]}"
    return NAMES.get(value, value) if isinstance(value, str) else value


def _welcomed(step: Step, user: str) -> Step:
    """Complete the welcomes of a step with what the simulator leaves out."""
    for item in step.get("server", ()):
        if "welcome" in item:
            item["welcome"] |= {"limits": LIMITS, "userId": user, "partitionCount": PARTITIONS}
    return step


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    if "message" in found and "clientMessageId" in found:
        found["message"] = {"text": f"message {found['clientMessageId']}"}
    if "id" in found and "message" not in found:  # as it is shown
        found["text"] = f"message {found.pop('clientMessageId')}"
    return found
