"""python3 -m scripts.cluster COMMAND: what `vagrant up` does in a guest."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from scripts.backends.instance import Failed
from scripts.cluster import ready
from scripts.cluster.plan import Plan
from scripts.cluster.provision import provision


def main(argv: Sequence[str] | None = None) -> int:
    """0: done. 1: not, and the last line says what to do."""
    parser = argparse.ArgumentParser(prog="python3 -m scripts.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    about = "make this machine a node; the environment says which (see Vagrantfile)"
    commands.add_parser("provision", help=about).set_defaults(do=_provision)
    for do, about in (
        (ready.ready, "wait until all nodes are there, and deploy"),
        (ready.wait, "wait until all nodes are there and every server answers"),
    ):
        waits = commands.add_parser(do.__name__, help=about)
        waits.set_defaults(do=lambda arguments, do=do: do(arguments.nodes))
        waits.add_argument("nodes", type=int)
    arguments = parser.parse_args(argv)
    try:
        arguments.do(arguments)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def _provision(_: argparse.Namespace) -> None:
    here = Plan(int(os.environ["NODE"]), int(os.environ["NODES"]), os.environ["KAFKA_CLUSTER_ID"])
    provision(here, with_nomad=os.environ["NOMAD"] != "0")


if __name__ == "__main__":
    sys.exit(main())
