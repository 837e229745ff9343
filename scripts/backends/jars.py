"""Has Maven fetch a folder of jars, and compares them with the checksums that are committed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from scripts.backends import store, tools, versions
from scripts.backends.instance import Failed

GOAL = "org.apache.maven.plugins:maven-dependency-plugin:{}:copy-dependencies"


def bring(name: str, version: str, properties: dict[str, str]) -> Path:
    """Return the folder with the jars of `pinned/<name>/pom.xml`."""
    return store.bring(
        name, version, lambda folder: _copy(name, properties, folder), "copying its jars with Maven"
    )


def installed(program: str, folder: str, jar: str) -> Path | None:
    """Return the jars beside a start script on PATH, if `jar`, a pattern, is among them."""
    script = shutil.which(program)
    libs = Path(script).resolve().parent.parent / folder if script else None
    return libs if libs and any(libs.glob(jar)) else None


def _copy(name: str, properties: dict[str, str], folder: Path) -> None:
    pinned = store.PINNED / name
    with tempfile.TemporaryDirectory() as work:  # Maven leaves a folder beside the pom
        pom = shutil.copy(pinned / "pom.xml", work)
        goal = GOAL.format(versions.MAVEN_DEPENDENCY_PLUGIN)
        given = [f"-D{key}={value}" for key, value in properties.items()]
        into = f"-DoutputDirectory={folder}"
        argv = [tools.maven(), "-q", "-B", "-f", str(pom), goal, into, "-DincludeScope=runtime"]
        tools.run([*argv, *given])
    verify(folder, pinned / "jars.sha256")


def verify(folder: Path, checksums: Path) -> None:
    """Raise Failed unless `folder` has exactly the jars that `checksums` names, unchanged."""
    expected = parse(checksums.read_text())
    found = {path.name: _sha256(path) for path in folder.glob("*.jar")}
    if wrong := sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    ):
        raise Failed(
            f"Not as {checksums.name} of {checksums.parent.name} says: {', '.join(wrong)}.\n"
            "What the Maven repository gave is not what was committed: do not use it; see that the "
            "versions in scripts/backends/versions.py and the checksums belong together."
        )


def parse(text: str) -> dict[str, str]:
    """Return SHA-256 sums by file name, from a file as sha256sum writes it."""
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {name: digest for digest, name in pairs}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
