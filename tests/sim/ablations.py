"""The rules less one each. Those about what a device is told are in `device_rules`, those about
logs that are cut in `cut_rules`, telling what a log has lost in `loss_rules`, recipients in the
sender's partition in `home_rules`, groups in `group_rules`, changes of messages in `change_rules`,
what is too old in `aging_rules`, and versions of the assignment in `assignment_rules`.
"""

from __future__ import annotations

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.reliable import ReliableStates
from cecochat.domain.ownership.clock import OwnClock
from cecochat.domain.ownership.forwarder import Forwarder, Lane
from cecochat.domain.ownership.incoming import Incoming
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.ownership.sent import SentTable
from tests.sim import oracle, without
from tests.sim.ablation import HAND_OVERS, Override, ablation
from tests.sim.aging_rules import AGING_RULES
from tests.sim.assignment_rules import ASSIGNMENT_RULES
from tests.sim.call_rules import CALL_RULES
from tests.sim.change_rules import CHANGE_RULES
from tests.sim.cut_rules import CUT_RULES
from tests.sim.device_rules import DEVICE_RULES, GAPS, READ_WHILE_WRITTEN
from tests.sim.group_rules import GROUP_RULES
from tests.sim.history import Audit
from tests.sim.home_rules import HOME_RULES
from tests.sim.log import Log
from tests.sim.loss_rules import LOSS_RULES
from tests.sim.loss_rules import LOSSES as _LOSSES
from tests.sim.server import Server
from tests.sim.shape import Shape
from tests.sim.vanish_rules import VANISH_RULES
from tests.sim.world import World

_HELD_UP = {"pause": 8, "resume": 3, "assign": 8, "learn": 6, "land": 0.3, "send": 3, "read": 2}
_FAILED_APPENDS = {"fail": 6, "land": 0.6, "send": 1.5, "forward": 1.5}
_SLOW_TARGETS = {"stall": 10, "send": 2, "to_server": 2, "forward": 2, "recall": 0.5, "commit": 2}
_UNREADABLE = {"spoil_other": 0.03, "land": 0.5}
_UNREADABLE_AT_HANDOVERS = HAND_OVERS | {"spoil_other": 0.03, "pause": 0.3, "assign": 12}
_QUIET_HANDOVERS = {"skew": 40, "assign": 8, "learn": 4, "claim": 3, "send": 0.3, "read": 4}
_QUIET_HANDOVERS |= {"land": 4, "answer": 3, "forward": 5, "commit": 10, "land_commit": 10}
_QUIET_HANDOVERS |= {"pause": 0.1, "crash": 0.3, "crash_all": 0, "stall": 0}
_FORGETS = Shape(resend_records=0, state_every=2)  # a new owner starts from state records alone
_LOST_STATES = _LOSSES | {"send": 3, "forward": 2, "land": 0.5}
_CLOCKS_SET_BACK_AND_FORTH = {"wrong_clock": 1_000.0, "expire": 20, "read": 3, "connect": 3}
_CLOCKS_SET_BACK_AND_FORTH |= {"crash": 0.1, "send": 2}
_FORKED = frozenset(
    {oracle.SWAPPED, oracle.DOUBLED, oracle.MISSING, oracle.ID_NOT_UNIQUE, oracle.STUCK}
)

_TRUSTING: Override = (Server, "waits_in_vain", False)
"""Else it costs time alone: an owner that cannot read back what it has appended begins anew."""
_UNMENDED: Override = (Incoming, "ask", without.never_asks)
"""Else it costs time alone: what is missing would be asked for, and come after all."""

ABLATIONS = [
    ablation(
        "fence",
        (Fold, "is_fenced_in", without.always),
        (Fold, "is_next", without.always),
        expect=_FORKED,
        seed=0,
        weights=HAND_OVERS,
    ),
    ablation(
        "epoch",
        (Fold, "is_fenced_in", without.always),
        expect=_FORKED,
        seed=910,
        weights=_HELD_UP,
    ),
    ablation(
        "number of origins",
        (Fold, "is_next", without.always),
        expect=frozenset({oracle.SWAPPED, oracle.DOUBLED}),
        seed=8,
        weights=_FAILED_APPENDS,
    ),
    ablation(
        "chain of copies",
        (Fold, "is_linked", without.always),
        expect=frozenset({oracle.MISSING}),
        seed=12,
        weights=_FAILED_APPENDS,
    ),
    ablation(
        "no copy overtakes what a lane has forgotten",
        (Lane, "takes_in", property(without.always)),
        _UNMENDED,
        expect=frozenset({oracle.MISSING}),
        seed=2,
        weights=_SLOW_TARGETS,
    ),
    ablation(
        "the watermark waits for what a lane has forgotten",
        (Lane, "owed_from", property(without.owed_but_for_the_forgotten)),
        _UNMENDED,
        expect=frozenset({oracle.MISSING}),
        seed=4,
        weights=_SLOW_TARGETS,
    ),
    ablation(
        "ack on read-back",
        (Server, "appended", without.acknowledge_when_appended),
        expect=frozenset({oracle.LOST}),
        seed=18,
        weights=HAND_OVERS,
    ),
    ablation(
        "forward on read",
        (Server, "appended", without.forward_when_appended),
        (Server, "read", without.read_without_forwarding),
        expect=frozenset({oracle.MISSING, oracle.NOT_IN_HISTORY, oracle.SHOWN_TWICE}),
        seed=196,
    ),
    ablation(
        "ids by sequence",
        (Owner, "next_stamp", without.stamp_by_count),
        expect=frozenset({oracle.ID_NOT_UNIQUE, oracle.SWAPPED}),
        seed=1,
    ),
    ablation(
        "state records",
        (World, "known_fold_at", without.fold_by_timestamp),
        expect=frozenset({oracle.MISSING}),
        seed=12,
    ),
    ablation(
        "a state record says how high ids are",
        (Fold, "state", without.state_without_top),
        expect=frozenset({oracle.SWAPPED, oracle.EARLY_REPLY, oracle.ID_NOT_UNIQUE}),
        seed=97,
        weights=_QUIET_HANDOVERS,
        shape=_FORGETS,
    ),
    ablation(
        "idle sessions are told how far all is",
        (Owner, "expire", without.expire_without_telling),
        expect=frozenset({oracle.SENT_AWAY}),
        seed=6,
    ),
    ablation(
        "all that wait for a send are acknowledged",
        (Owner, "settle", without.settle_for_the_last),
        expect=frozenset({oracle.UNACKNOWLEDGED}),
        seed=1,
    ),
    ablation(
        "pending sends de-duplicated",
        (Owner, "under_way", without.never),
        expect=frozenset({oracle.DOUBLED}),
        seed=1,
    ),
    ablation(
        "position on sends",
        (SentTable, "covers", without.always),
        expect=frozenset({oracle.DOUBLED}),
        seed=7,
    ),
    ablation(
        "a failed append ends the epoch",
        (Server, "append_failed", without.carry_on),
        _TRUSTING,
        expect=frozenset({oracle.STUCK, oracle.MISSING}),
        seed=1,
        weights={"fail": 3},
    ),
    ablation(
        "an own send that cannot be read ends the epoch",
        (Owner, "skip", without.skip_and_go_on),
        _TRUSTING,
        expect=frozenset({oracle.LOST, oracle.STUCK}),
        seed=1,
        weights={"spoil": 20},
    ),
    ablation(
        "what is missing is asked for",
        (Incoming, "ask", without.never_asks),
        expect=frozenset({oracle.MISSING}),
        seed=1,
        weights=_UNREADABLE,
    ),
    ablation(
        "what is asked for is brought",
        (Forwarder, "rewind", without.never),
        expect=frozenset({oracle.MISSING}),
        seed=1,
        weights=_UNREADABLE,
    ),
    ablation(
        "after an unreadable record all chains are compared",
        (Incoming, "unread", -1),
        expect=frozenset({oracle.MISSING}),
        seed=6,
        weights=_UNREADABLE,
    ),
    ablation(
        "a copy names the one before it, whoever made that",
        (Server, "__init__", without.start_with_a_new_chain),
        expect=frozenset({oracle.MISSING}),
        seed=38,
        weights=_UNREADABLE_AT_HANDOVERS,
    ),
    ablation(
        "a state record says what is missing",
        (Fold, "state", without.state_without_what_is_missing),
        expect=frozenset({oracle.MISSING}),
        seed=0,
        shape=_FORGETS,
    ),
    ablation(
        "what the log has dropped is left out, and told",
        (Lane, "leave_out", without.leave_out_and_wait),
        expect=frozenset({oracle.MISSING}),
        seed=126,
        weights=_UNREADABLE | GAPS,
    ),
    ablation(
        "causal stamps",
        (Fold, "top_after_copy", without.top_before_copy),
        (Owner, "next_stamp", without.stamp_whatever_was_seen),
        expect=frozenset({oracle.EARLY_REPLY}),
        seed=2,
    ),
    ablation(
        "a send says what was seen",
        (Owner, "next_stamp", without.stamp_whatever_was_seen),
        expect=frozenset({oracle.EARLY_REPLY}),
        seed=286,
        weights=READ_WHILE_WRITTEN | {"skew": 10},
    ),
    *DEVICE_RULES,
    ablation(
        "an audit judges what materialize says is whole",
        (Audit, "whole", without.audit_to_the_end),
        expect=frozenset({oracle.FALSE_ALARM}),
        seed=0,
    ),
    ablation(
        "a clock ahead of the log's accepts nothing",
        (OwnClock, "is_right", without.always),
        expect=frozenset({oracle.FAR_AHEAD}),
        seed=10,
        weights={"wrong_clock": 50},
    ),
    ablation(
        "a copy is new by its place",
        (Fold, "is_new", without.new_by_offset),
        expect=frozenset({oracle.MISSING}),
        seed=16,
        weights=_LOSSES,
    ),
    ablation(
        "a position is of the log that it was told of",
        (Server, "appended_at_ms", without.no_time),
        expect=frozenset({oracle.MISSING}),
        seed=0,
        weights=_LOSSES,
    ),
    ablation(
        "a state record tells of nothing that was lost",
        (ReliableStates, "_is_valid", without.told_whatever_was_lost),
        expect=frozenset({oracle.MISSING, oracle.STUCK, oracle.EXCEPTION}),
        seed=133,
        weights=_LOST_STATES,
    ),
    ablation(
        "a reader sees that its log has lost what it read",
        (Log, "differs", without.never_differs),
        expect=frozenset({oracle.MISSING, oracle.STUCK, oracle.HISTORY_WRONG}),
        seed=18,
        weights=_LOSSES,
    ),
    ablation(
        "a record that shows a clock ahead shows no more",
        (OwnClock, "compare", without.compare_whatever_it_shows),
        expect=frozenset({oracle.FAR_AHEAD}),
        seed=465,
        weights=_CLOCKS_SET_BACK_AND_FORTH,
    ),
    *HOME_RULES,
    *GROUP_RULES,
    *CHANGE_RULES,
    *CALL_RULES,
    *AGING_RULES,
    *LOSS_RULES,
    *CUT_RULES,
    *VANISH_RULES,
    *ASSIGNMENT_RULES,
]
