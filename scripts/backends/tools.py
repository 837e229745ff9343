"""Finds the programs that are needed, installs them if that is allowed, or asks for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from scripts.backends import versions
from scripts.backends.instance import Failed


def run(argv: list[str], *, cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """Run a program and return its output. Raises Failed with the last lines of its output."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise Failed(f"{said}\n{' '.join(argv[:4])} ... failed (exit code {done.returncode})")
    return done.stdout


def install(package: str, why: str) -> None:
    """Install a Debian package if this is root on Debian, or else ask for it. Raises Failed."""
    if os.geteuid() or not shutil.which("apt-get"):
        raise Failed(f"{why}: install it (Debian, Ubuntu: {package}), and run this again")
    print(f"{why}: installing {package} ...", flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    options = ["-qq", "--option", "Dpkg::Use-Pty=0", "--yes", "--no-install-recommends"]
    know(package)
    run(["apt-get", "install", *options, package], environ=quiet)


def know(package: str) -> None:
    """Fetch apt's lists, unless they have the package already."""
    if not Path("/var/lib/apt/lists").is_dir() or not _known(package):
        run(["apt-get", "update", "-qq"], environ={"DEBIAN_FRONTEND": "noninteractive"})


def _known(package: str) -> bool:
    policy = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True)
    return "Candidate:" in policy.stdout and "(none)" not in policy.stdout


def java() -> str:
    """Return the right `java` from JAVA_HOME, PATH, or where Debian puts it. Raises Failed."""
    candidates = _javas()
    if not candidates:
        install(f"openjdk-{versions.JAVA}-jre-headless", f"Java {versions.JAVA} is missing")
        candidates = _javas()
    if not candidates:
        raise Failed(f"There is no Java {versions.JAVA}: set JAVA_HOME to one, and run this again")
    return candidates[0]


def _javas() -> list[str]:
    home = os.environ.get("JAVA_HOME")
    places = [str(Path(home) / "bin" / "java")] if home else []
    places += filter(None, [shutil.which("java")])
    places += map(str, sorted(Path("/usr/lib/jvm").glob(f"*{versions.JAVA}*/bin/java")))
    return [java for java in places if _java_major(java) == versions.JAVA]


def _java_major(java: str) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    except OSError:
        return 0
    version = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(version[1]) if version else 0


def maven() -> str:
    if not shutil.which("mvn"):
        install("maven", "Maven is missing")
    return found("mvn")


def redis_server() -> str:
    """Return the redis-server that is installed, after installing it if needed."""
    if not shutil.which("redis-server"):
        install("redis-server", "Redis is missing")
        if Path("/run/systemd/system").is_dir():  # the package starts one, but we start our own
            run(["systemctl", "disable", "--now", "redis-server"])
    return found("redis-server")


def postgres() -> str:
    """Return the newest `postgres` that is installed, after installing one if needed."""
    if not postgres_programs():
        install("postgresql", "PostgreSQL is missing")
        if Path("/run/systemd/system").is_dir():  # the package starts one, but we start our own
            run(["systemctl", "disable", "--now", "postgresql"])
    if not (found := postgres_programs()):
        raise Failed("postgres is not on PATH: install PostgreSQL, and run this again")
    return found[0]


def postgres_programs() -> list[str]:
    """Return where `postgres` is, beside `initdb`: where Debian puts it, or on PATH."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = sorted(debian, key=lambda path: numbers(path.parts[4]), reverse=True)
    places = map(Path, filter(None, [*map(str, newest), shutil.which("postgres")]))
    return [str(path) for path in places if path.resolve().with_name("initdb").exists()]


def numbers(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version such as "go1.26.8"."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Failed(f"{program} is not on PATH: install it, and run this again")
    return path
