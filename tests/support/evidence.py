"""What a run shows of its faults: a run in which nobody noticed the fault proves nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.records import (
    Acked,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    Sent,
    ServerDied,
    ServerReady,
    ServerSignalled,
)

LEAD_S = 1.0
"""Traffic counts as running at a fault if it ran within this time before it."""


@dataclass
class Fault:
    """One death of the server and what the clients went through, up to the next one."""

    began_s: float
    pid: int
    signal: str
    return_code: int | None = None
    ready_s: float | None = None  # when the next process was ready
    next_pid: int | None = None
    sent_before: int = 0  # first attempts within LEAD_S before
    unanswered: int = 0  # sends without an ack at that moment
    sent_again: int = 0
    cut_off: set[DeviceKey] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)  # why each was cut off first; "": no reason
    back_s: dict[DeviceKey, float] = field(default_factory=dict)  # death to caught up


def faults(entries: Sequence[Entry]) -> list[Fault]:
    """Every death of the server in a record, in order."""
    found: list[Fault] = []
    first_sent: dict[tuple[str, str], float] = {}
    open_sends: set[tuple[str, str]] = set()
    for at_s, who, _, what in entries:
        fault = found[-1] if found else None
        match what:
            case Sent(client_message_id, _, _):
                key = (who.user_id, client_message_id)
                if key not in first_sent:
                    open_sends.add(key)
                elif fault and first_sent[key] < fault.began_s:
                    fault.sent_again += 1
                first_sent.setdefault(key, at_s)
            case Acked(client_message_id, _, _):
                open_sends.discard((who.user_id, client_message_id))
            case Delivered(_, message):
                open_sends.discard((message.user_id, message.client_message_id))
            case ServerDied(_, return_code) if fault:
                fault.return_code = return_code
            case ServerSignalled(pid, signal):
                recent = sum(1 for sent_s in first_sent.values() if sent_s > at_s - LEAD_S)
                found.append(
                    Fault(at_s, pid, signal, sent_before=recent, unanswered=len(open_sends))
                )
            case ServerReady(pid) if fault:
                fault.ready_s, fault.next_pid = at_s, pid
            case Closed(code, _) if fault and who not in fault.back_s:
                if who not in fault.cut_off:
                    fault.codes.add(code)
                fault.cut_off.add(who)
            case CaughtUp() if fault and who in fault.cut_off:
                fault.back_s.setdefault(who, at_s - fault.began_s)
            case _:
                pass
    return found


class Absence(NamedTuple):
    """A device between the end of a connection and being caught up again. `code`: why it ended."""

    who: DeviceKey
    began_s: float
    lasted_s: float
    code: str


def absences(entries: Sequence[Entry]) -> list[Absence]:
    """Every one in a record that is over, in the order in which they ended."""
    found: list[Absence] = []
    gone: dict[DeviceKey, tuple[float, str]] = {}
    for at_s, who, _, what in entries:
        match what:
            case Closed(code, _):
                gone.setdefault(who, (at_s, code))
            case CaughtUp() if who in gone:
                began_s, code = gone.pop(who)
                found.append(Absence(who, began_s, at_s - began_s, code))
            case _:
                pass
    return found


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of all are not above; 0 of none."""
    return sorted(values)[max(0, math.ceil(len(values) * part) - 1)] if values else 0.0
