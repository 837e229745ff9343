"""Does in a guest what `vagrant up` needs: python3 -m scripts.cluster COMMAND."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from scripts.backends.instance import Failed
from scripts.cluster import ready
from scripts.cluster.plan import Plan
from scripts.cluster.provision import provision

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Return 0 if it is done, or 1 after a line that says what to do."""
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
        waits.add_argument("nodes", type=_number, metavar="NODES", help="how many there are")
    arguments = parser.parse_args(argv)
    try:
        arguments.do(arguments)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def _provision(_: argparse.Namespace) -> None:
    node, nodes = _given("NODE", _number), _given("NODES", _number)
    if node > nodes:
        raise Failed(f"NODE is {node}, but NODES is {nodes}: use a number from 1 to {nodes}")
    here = Plan(node, nodes, _given("KAFKA_CLUSTER_ID", str))
    provision(here, with_nomad=os.environ.get("NOMAD") != "0")


def _given(name: str, parse: Callable[[str], T]) -> T:
    """Return a number that the Vagrantfile has put into the environment. Raises Failed."""
    if not (text := os.environ.get(name)):
        raise Failed(f"{name} is not set: run `vagrant provision`, which sets it")
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise Failed(f"{name}: {error}") from None


def _number(text: str) -> int:
    """Parse a number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
