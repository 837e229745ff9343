"""`pip install cecochat` installs the client and the chat commands; what servers need is an extra.

The wheel is built and unpacked beside links to what it asks for of this environment, and nothing
else. So the packages are those of the lock, and no registry is needed.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.support.examples import blocks
from tests.support.server import Server

ROOT = Path(__file__).parents[2]
PACKAGES_MAX = 26
BYTES_MAX = 50_000_000  # without what Python compiles
ADAPTERS = ("kafka", "cassandra", "redis", "consul", "nomad", "postgres", "s3")


class Installed(NamedTuple):
    """A folder with packages, and their sizes in bytes by name."""

    folder: Path
    sizes: dict[str, int]

    def run(self, program: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program that sees these packages alone."""
        start = f"import sys; sys.path.insert(0, {str(self.folder)!r}); {program}"
        kept = {name: value for name, value in os.environ.items() if "CECOCHAT" not in name}
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", start, *words],
            env=kept | more, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `cecochat`."""
        return self.run("from cecochat.cli.main import main; main()", *words, **more)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install` of the wheel installs, without any extra."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--target", str(folder), str(ROOT)], check=True)
    sizes = {}
    for package in needed("cecochat"):
        for name in {file.parts[0] for file in package.files or () if file.parts[0] != ".."}:
            if not (folder / name).exists():
                (folder / name).symlink_to(package.locate_file(name))  # type: ignore[arg-type]
        sizes[package.name] = sum(size(package, file) for file in package.files or ())
    return Installed(folder, sizes)


def size(package: Distribution, file: object) -> int:
    path = Path(str(package.locate_file(file)))  # type: ignore[arg-type]
    return path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0


def needed(name: str) -> list[Distribution]:
    """What a package requires without extras, and what that requires in turn."""
    found: dict[str, Distribution] = {}
    for requirement in requirements(distribution(name), ""):
        collect(requirement, found)
    return list(found.values())


def requirements(package: Distribution, extra: str) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def collect(requirement: Requirement, found: dict[str, Distribution]) -> None:
    package = distribution(requirement.name)
    for extra in ("", *requirement.extras):
        if (key := f"{package.name}[{extra}]") not in found:
            found[key] = package
            for further in requirements(package, extra):
                collect(further, found)


def test_it_is_small(bare: Installed) -> None:
    print(f"{len(bare.sizes)} packages, {sum(bare.sizes.values()) / 1e6:.0f} MB: {bare.sizes}")
    assert len(bare.sizes) <= PACKAGES_MAX
    assert sum(bare.sizes.values()) < BYTES_MAX
    assert not {"sanic", "aiokafka", "cryptography", "opentelemetry-sdk"} & bare.sizes.keys()


def test_the_protos_are_in_it(bare: Installed) -> None:
    there = bare.folder / "cecochat" / "protos" / "cecochat" / "v1"
    ours = ROOT / "protos" / "cecochat" / "v1"
    assert {path.name: path.read_text() for path in there.iterdir()} == {
        path.name: path.read_text() for path in ours.iterdir()
    }


def test_the_metadata_says_what_this_is(bare: Installed) -> None:
    (metadata,) = bare.folder.glob("cecochat-*.dist-info/METADATA")
    text = metadata.read_text()
    assert re.search(r"^Summary: \S", text, re.M)
    assert re.search(r"^Author: \S", text, re.M)
    assert "# CecoChat" in text, "the README"
    extras = re.findall(r"^Provides-Extra: (\S+)", text, re.M)
    assert set(extras) == {"all", "server", "websocket", *ADAPTERS}


@pytest.mark.parametrize("command", ["up", "serve", "status"])
def test_a_command_that_needs_more_says_which_extra(
    bare: Installed, command: str, tmp_path: Path
) -> None:
    words = ("serve", "connect") if command == "serve" else (command,)
    done = bare.command(*words, XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "which is not installed: pip install 'cecochat[server]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_backend_that_needs_more_says_which_extra(adapter: str) -> None:
    """As if its own package were missing from this environment."""
    program = f"""
import asyncio, sys
from cecochat.cli.failure import judge
from cecochat.settings import backends
from cecochat.settings.settings import load
own = {{"kafka": "aiokafka", "postgres": "asyncpg", "s3": "botocore"}}.get({adapter!r}, {adapter!r})
sys.modules[own] = None
backend = next(each for each in backends.found() if each.name == {adapter!r})
async def open_all():
    for opened in backend.ports.values():
        async with opened(load({{"CECOCHAT_{adapter.upper()}": "127.0.0.1:1"}})):
            pass
try:
    asyncio.run(open_all())
except ImportError as error:
    print(*judge(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert f"pip install 'cecochat[{adapter}]'" in done.stdout, done.stderr


async def test_the_example_of_the_readme_runs_with_it(bare: Installed, server: Server) -> None:
    readme = (ROOT / "README.md").read_text()
    example = next(block for block in blocks(readme) if "jwt.encode" in block.body)
    text = example.body.replace("http://127.0.0.1:8080", server.connect_url)
    text = re.sub(r'Path\("~.*?"\)\.expanduser\(\)', f"Path({str(server.secret_file)!r})", text)
    file = server.folder / "example.py"
    file.write_text(text)
    done = await asyncio.to_thread(bare.run, f"exec(open({str(file)!r}).read())")
    assert done.stdout == "alice hello\n", done.stderr
    state = {"XDG_STATE_HOME": str(server.folder / "state")}
    sent = await asyncio.to_thread(bare.command, "send", "--as", "carol", "bob", "hi", **state)
    assert sent.stdout.strip().isdecimal(), sent.stderr


def test_what_the_extras_ask_for_is_installed() -> None:
    """A package that is missing here is spelled wrong, or is not in the lock."""
    for extra in ("server", *ADAPTERS):
        names = [each.name for each in requirements(distribution("cecochat"), extra)]
        assert all(distribution(name) for name in names)
