"""Checks the locked packages for known vulnerabilities with pip-audit, for `make advisories`.

pip-audit says that it has found none if it could not ask the database, and leaves out packages that
the database does not know. So this counts the packages for which there was an answer. The exit code
is 0 if none is known, or if it was SKIPPED, and 1 if there are some, or if --required was given and
nothing could be found out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LOCKS = tuple(f"requirements{name}.lock" for name in ("", "-build", "-dev", "-supply"))
TIMEOUT_S = 600


class Answer(NamedTuple):
    """The answer about one lock. `unknown` has packages without an answer, each with the reason."""

    judged: int
    found: list[str]
    unknown: list[str]


def judge(packages: Iterable[dict[str, Any]]) -> Answer:
    """Interpret the `dependencies` in pip-audit's JSON."""
    judged, found, unknown = 0, [], []
    for package in packages:
        if "vulns" not in package:
            unknown.append(f"{package['name']}: {package.get('skip_reason', 'no answer')}")
            continue
        judged += 1
        found += [
            f"{package['name']} {package['version']}: {each['id']}, mended in "
            f"{', '.join(each['fix_versions']) or 'no version yet'}"
            for each in package["vulns"]
        ]
    return Answer(judged, found, unknown)


def ask(program: str, lock: str) -> Answer:
    """Run pip-audit; where it fails, nothing is known and its last line says why."""
    words = [program, "--requirement", lock, "--require-hashes", "--disable-pip"]
    words += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    try:
        return judge(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        return Answer(0, [], [(done.stderr.strip().splitlines() or ["it said nothing"])[-1]])


def say(lock: str, answer: Answer) -> None:
    """Print what a person has to know about a lock."""
    for each in answer.found:
        print(f"{lock}: {each}")
    if answer.unknown:
        print(
            f"SKIPPED: {lock}: the database told nothing of {len(answer.unknown)}, the first is "
            f"{answer.unknown[0]:.300}",
            file=sys.stderr,
        )
    print(f"{lock}: {answer.judged} packages judged, {len(answer.found)} vulnerabilities known")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="pip-audit")
    parser.add_argument("--required", action="store_true", help="fail where nothing was learned")
    given = parser.parse_args(arguments)
    answers = []
    for lock in LOCKS:
        answers.append(ask(given.program, lock))
        say(lock, answers[-1])
    wrong = any(each.found or (given.required and each.unknown) for each in answers)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
