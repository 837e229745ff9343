"""Says what has changed in a group: to a person, and in JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cecochat.client import GroupChange, GroupOptions, Member

NAMED_MAX = 5

ROLES = {"owner": "the owner", "admin": "an admin", "member": "a plain member", "muted": "muted"}


def in_words(change: GroupChange) -> str:
    """Return what somebody has changed, in a sentence without its end; empty if it is nothing."""
    done = list(_done(change))
    return f"{change.user_id} {_listed(done)}" if done else ""


def _done(change: GroupChange) -> Iterator[str]:
    who = change.user_id
    added = [each for each in change.added if each != who]
    removed = [each for each in change.removed if each != who]
    if change.is_first and change.options:
        yield f"created {options_text(change.options)}" + (f" with {some(added)}" if added else "")
    elif who in change.added:
        yield "joined"
    elif added:
        yield f"added {some(added)}"
    removed = [each for each in removed if each not in change.banned]
    if change.banned:
        yield f"banned {some(change.banned)}"
    if change.unbanned:
        yield f"lifted the ban of {some(change.unbanned)}"
    if removed:
        yield f"removed {some(removed)}"
    if change.invited:
        yield f"invited {some(change.invited)}"
    if change.options and not change.is_first:
        yield f"changed the group to {options_text(change.options)}"
    if who in change.removed:
        yield "left"
    if not change.is_first:
        yield from _appointed(change)


def _appointed(change: GroupChange) -> Iterator[str]:
    """An owner who appoints another, or leaves, is replaced: that needs no saying."""
    for each in change.appointed:
        if each.user_id != change.user_id:
            yield f"made {each.user_id} {ROLES.get(each.role or '', 'a member')}"


def options_text(options: GroupOptions) -> str:
    """Return what a group is called, and what holds there that is not usual."""
    notes = {
        "only admins write": options.is_channel,
        "open to all": options.is_open,
        "past hidden from new members": options.hides_past,
    }
    held = ", ".join(note for note, holds in notes.items() if holds)
    return f"“{options.name}”" + (f" ({held})" if held else "")


def some(names: Sequence[str]) -> str:
    """Return some names as one says them; of many, how many there are."""
    if len(names) > NAMED_MAX:
        return _listed([*names[: NAMED_MAX - 1], f"{len(names) - NAMED_MAX + 1} more"])
    return _listed(names)


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def change_json(change: GroupChange) -> dict[str, Any]:
    """Return a change as `history --json` prints it: without what it does not name."""
    named: dict[str, Any] = {
        "added": list(change.added),
        "removed": list(change.removed),
        "invited": list(change.invited),
        "banned": list(change.banned),
        "unbanned": list(change.unbanned),
        "appointed": [member_json(each) for each in change.appointed],
        "options": options_json(change.options),
    }
    return {
        "group_change": {
            "id": str(change.id),
            "chat_id": change.chat_id,
            "from": change.user_id,
            "sent_at": change.sent_at.isoformat(timespec="milliseconds"),
            **{name: value for name, value in named.items() if value},
        }
    }


def options_json(options: GroupOptions | None) -> dict[str, Any] | None:
    """Return the options of a group in JSON; None if there are none."""
    from dataclasses import asdict

    return asdict(options) if options else None


def member_json(member: Member) -> dict[str, Any]:
    """Return a member in JSON."""
    return {"user_id": member.user_id, "role": member.role or "invited"}
