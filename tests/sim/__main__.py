"""Run the simulator: `python -m tests.sim run --seeds N`, `show SEED`, `ablate`."""

from __future__ import annotations

import argparse
import time

from tests.sim.campaign import campaign
from tests.sim.report import shown
from tests.sim.schedule import STEPS, random_run
from tests.sim.shape import Shape


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    for name, default in Shape()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="many seeds")
    run.add_argument("--seeds", type=int, default=1_000)
    run.add_argument("--first", type=int, default=0)
    show = commands.add_parser("show", help="one seed, shrunk, step by step")
    show.add_argument("seed", type=int)
    show.add_argument("--kind", help="the promise to shrink for; default: the first broken one")
    ablate = commands.add_parser("ablate", help="the rules less one each")
    ablate.add_argument("--seeds", type=int, default=1_000)
    ablate.add_argument("--only")
    arguments = parser.parse_args()
    shape = Shape(**{name: getattr(arguments, name) for name in Shape._fields})
    if arguments.command == "run":
        _run(arguments.first, arguments.seeds, arguments.steps, shape)
    elif arguments.command == "show":
        print(shown(random_run(arguments.seed, arguments.steps, shape), shape, arguments.kind))
    else:
        _ablate(arguments.seeds, arguments.only)


def _run(first: int, seeds: int, steps: int, shape: Shape) -> None:
    started = time.monotonic()
    found = campaign(first, seeds, steps, shape)
    print(f"{found.failed} of {seeds} seeds break a promise ({time.monotonic() - started:.0f} s)")
    for kind, times in found.kinds.most_common():
        seed, detail = found.examples[kind]
        print(f"{times:7d}  {kind}, e.g. seed {seed}: {detail[-1500:]}")


def _ablate(seeds: int, only: str | None) -> None:
    from tests.sim.ablation import survey
    from tests.sim.ablations import ABLATIONS

    for ablation in ABLATIONS:
        if only in (None, ablation.name):
            print(survey(ablation, seeds), flush=True)


if __name__ == "__main__":
    main()
