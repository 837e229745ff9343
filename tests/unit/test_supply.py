"""What we ship is known by its parts: the base of the image, and the packages."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts import advisories

ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
PINNED = ROOT / "base-image.lock"

# A stand-in for docker: it notes what it is told, and knows one image of a registry, one made here.
DOCKER = f"""#!/bin/sh
echo "$@" >>"$NOTED"
case "$*" in
*made-by*:made) echo cecochat/scripts/base-image.sh ;;
*.Id*) echo {DIGEST} ;;
image*) echo "python@{DIGEST}" ;;
pull*:away) exit 1 ;;
esac
"""


# -- the base of the image


def built(folder: Path, base: str, code: int = 0) -> tuple[list[str], str]:
    """What docker is told by scripts/image.sh, and what that says."""
    docker, noted = folder / "docker", folder / "noted"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    told = {"DOCKER": str(docker), "NOTED": str(noted), "BASE": base}
    script = [str(ROOT / "scripts" / "image.sh"), "cecochat:test", "--no-cache"]
    done = subprocess.run(
        script, env=os.environ | told, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return (noted.read_text().splitlines() if noted.exists() else []), done.stderr


def test_a_base_with_a_digest_is_taken_as_it_is(tmp_path: Path) -> None:
    (build,), said = built(tmp_path, f"python:3.11-slim-bookworm@{DIGEST}")
    assert f"--build-arg BASE=python:3.11-slim-bookworm@{DIGEST} --tag cecochat:test " in build
    assert f"--label org.opencontainers.image.base.digest={DIGEST} --no-cache ." in build
    assert said == ""


def test_a_tag_is_looked_up_and_said(tmp_path: Path) -> None:
    (_, pull, _, build), said = built(tmp_path, "python:3.13-slim-bookworm")
    assert pull == "pull --quiet python:3.13-slim-bookworm"
    assert f"BASE=python:3.13-slim-bookworm@{DIGEST} " in build
    assert f"echo python:3.13-slim-bookworm@{DIGEST} > base-image.lock" in said


def test_a_base_that_was_made_here_is_taken_as_it_is(tmp_path: Path) -> None:
    (_, _, build), said = built(tmp_path, "python:made")
    assert "--build-arg BASE=python:made --tag cecochat:test " in build
    assert f"--label org.opencontainers.image.base.digest={DIGEST} --no-cache ." in build
    assert said == ""


def test_without_a_registry_it_says_how_to_make_the_base(tmp_path: Path) -> None:
    told, said = built(tmp_path, "python:away", code=1)
    assert not any(line.startswith("build") for line in told)
    assert "make it: scripts/base-image.sh python:away" in said


def test_what_only_looks_like_a_digest_is_refused(tmp_path: Path) -> None:
    told, said = built(tmp_path, "python@sha256:short", code=1)
    assert told == []
    assert "names no digest" in said


@pytest.mark.skipif(
    not PINNED.exists(),
    reason="there is no base-image.lock: `make image` tells how to make it",
)
def test_the_base_is_pinned() -> None:
    assert re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}\n", PINNED.read_text())


# -- advisories


def test_no_answer_is_not_taken_for_a_good_one() -> None:
    """As pip-audit 2.10 writes it without its database, and says that it has found none."""
    reason = "Dependency not found on PyPI and could not be audited: sanic (25.12)"
    answer = advisories.judge([{"name": "sanic", "skip_reason": reason}])
    assert answer == advisories.Answer(0, [], [f"sanic: {reason}"])


def test_what_is_known_is_told_with_what_mends_it() -> None:
    vulnerable = {
        "name": "jinja2",
        "version": "2.4.1",
        "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.3"], "aliases": []}],
    }
    answer = advisories.judge([vulnerable, {"name": "sanic", "version": "25.12", "vulns": []}])
    assert answer == advisories.Answer(2, ["jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.3"], [])


def test_a_program_that_fails_is_no_good_answer() -> None:
    answer = advisories.ask("false", "requirements.lock")
    assert (answer.judged, answer.found, len(answer.unknown)) == (0, [], 1)


def test_every_lock_is_asked_about() -> None:
    assert set(advisories.LOCKS) == {path.name for path in ROOT.glob("requirements*.lock")}
