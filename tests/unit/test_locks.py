"""The locks are in step with pyproject.toml, with each other, and with what is installed here."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = ROOT / "requirements.lock"
BUILD = ROOT / "requirements-build.lock"
DEVELOPMENT = ROOT / "requirements-dev.lock"
SUPPLY = ROOT / "requirements-supply.lock"


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock.read_text(), re.M))


def asked_for(*groups: str) -> list[Requirement]:
    lines = []
    for group in groups:
        if group == "runtime":
            lines += PROJECT["project"]["dependencies"]
            continue
        lines += [line for line in PROJECT["dependency-groups"][group] if isinstance(line, str)]
    return [Requirement(line) for line in lines]


def test_venv_sh_takes_the_pythons_that_the_project_names() -> None:
    condition = re.search(r"sys\.exit\(not (.*)\)", (ROOT / "scripts" / "venv.sh").read_text())
    assert condition
    named = SpecifierSet(PROJECT["project"]["requires-python"])
    for version_info in [(3, minor, patch) for minor in range(9, 17) for patch in (0, 1)]:
        given = {"sys": SimpleNamespace(version_info=version_info)}
        refused = eval(f"not {condition[1]}", given)  # noqa: S307 - our own script
        assert refused != (".".join(map(str, version_info)) in named), version_info


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        (RUNTIME, ["runtime"]),
        (BUILD, ["build"]),
        (DEVELOPMENT, ["runtime", "build", "dev"]),
        (SUPPLY, ["supply"]),
    ],
)
def test_a_lock_holds_what_the_project_asks_for(lock: Path, groups: list[str]) -> None:
    locked = pins(lock)
    for wanted in asked_for(*groups):
        pinned = locked.get(canonicalize_name(wanted.name), "0")
        assert pinned in wanted.specifier, f"{wanted}: run `make lock` and commit what it writes"


def test_the_development_lock_holds_what_runs_and_what_builds() -> None:
    assert pins(RUNTIME).items() <= pins(DEVELOPMENT).items()
    assert pins(BUILD).items() <= pins(DEVELOPMENT).items()


def test_what_runs_has_nothing_that_builds_or_judges() -> None:
    tools = {canonicalize_name(each.name) for each in asked_for("build", "supply")}
    assert not tools & pins(RUNTIME).keys()


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEVELOPMENT, SUPPLY])
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    without_hash = re.findall(r"^[a-z0-9-]+==.*[^\\]$", text, re.M)
    assert without_hash == []
    assert text.count("--hash=sha256:") > len(pins(lock)) > 5
    assert "://" not in text
    assert str(ROOT) not in text


def test_this_run_uses_the_locked_versions() -> None:
    for requirement in asked_for("dev"):
        name = canonicalize_name(requirement.name)
        assert version(name) == pins(DEVELOPMENT)[name], "run `make setup`"
