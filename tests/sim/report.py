"""A failing run, as text."""

from __future__ import annotations

from tests.sim.schedule import Run, replay
from tests.sim.shape import Shape
from tests.sim.shrinking import shrink


def shown(run: Run, shape: Shape, kind: str | None = None) -> str:
    """A failing run, shrunk, as text."""
    if not run.broken:
        return f"{len(run.actions)} actions, no promise is broken"
    kind = kind or run.broken[0].kind
    run = shrink(run, kind, lambda actions: replay(actions, shape))
    lines = [f"{kind}: {len(run.actions)} actions, then all is healed"]
    lines += [f"    {action}," for action in run.actions]
    return "\n".join(lines + [f"=> {each.kind}: {each.detail}" for each in run.broken])
