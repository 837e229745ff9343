"""What all layers share: a seed that replays a run, the backends that must be there, the skips."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from scripts.backends import ports
from tests.support import containers, guard, kept, workers
from tests.support.backends import VARIABLE, Backends
from tests.support.pipes import TRANSPORTS, TransportName

if TYPE_CHECKING:
    from playwright.async_api import Browser

HERE = Path(__file__).parent
MARKED_BY_FOLDER = ("e2e", "faults", "hostile", "bench", "cluster")
SEED = "CECOCHAT_SEED"
JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1"  # a backend that lives for minutes starts with half the CPU
)
seed_key = pytest.StashKey[int]()
backends_key = pytest.StashKey[Backends]()

# How fast a machine is judges no test. Examples are drawn anew in each run, and a failure prints
# how to replay it (hypothesis would draw the same ones for ever where CI is set).
settings.register_profile(
    "laptop", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("laptop"), max_examples=300, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> TransportName:
    """A test that takes it runs over each transport."""
    name: TransportName = request.param
    return name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also what is marked slow: many minutes")
    parser.addoption("--cluster", action="store_true", help="also what harms a test cluster")


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its seed
def pytest_configure(config: pytest.Config) -> None:
    given = workers.told(config, SEED) or os.environ.get(SEED) or str(secrets.randbits(32))
    if not given.isdecimal():
        raise pytest.UsageError(f"{SEED} is {given!r}: it takes a whole number, as a run prints it")
    config.stash[seed_key] = int(given)
    config.add_cleanup(guard.begin())
    os.environ.setdefault("JAVA_TOOL_OPTIONS", JAVA_OPTIONS)
    ports.FREE = workers.own(ports.FREE)  # for backends that tests start
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = given
    try:
        config.stash[backends_key] = Backends.parse(os.environ)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker draws from the seed of this run."""
    node.workerinput[SEED] = str(node.config.stash[seed_key])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return workers.scheduler(config, log)


def pytest_report_header(config: pytest.Config) -> list[str]:
    required = ", ".join(sorted(config.stash[backends_key].required)) or "none"
    return [_replay(config), f"required backends: {required} ({VARIABLE})"]


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="slow: `make test-all`, or pytest --slow, runs it")
    unharmed = pytest.mark.skip(reason="breaks a test cluster: `make cluster-test` does")
    for item in items:
        layer = item.path.relative_to(HERE).parts[0]
        if layer in MARKED_BY_FOLDER:
            item.add_marker(layer)
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(skip)
        if layer == "cluster" and not config.getoption("--cluster"):
            item.add_marker(unharmed)
    items.sort(key=lambda item: "faults" not in item.keywords)  # they take longest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the clients of a failed test recorded."""
    report = yield
    if report.failed and (where := kept.failed()):
        report.sections.append(("what is kept", where))
    if report.when == "teardown":
        kept.over()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run and how to get it; then how to replay what did."""
    stats = terminalreporter.stats
    reasons = Counter(report.longrepr[2] for report in stats.get("skipped", []))
    terminalreporter.section("what did not run")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:5} {reason.removeprefix('Skipped: ')}")
    if deselected := len(stats.get("deselected", [])):
        terminalreporter.line(f"{deselected:5} deselected: run without -m or -k")
    if not reasons and not deselected:
        terminalreporter.line("nothing: every test that was collected ran")
    terminalreporter.line(_replay(terminalreporter.config))


def _replay(config: pytest.Config) -> str:
    return f"seed of this run: {SEED}={config.stash[seed_key]} draws the same again"


@pytest.fixture(scope="session")
def base_seed(pytestconfig: pytest.Config) -> int:
    """What all randomness of this run comes from: CECOCHAT_SEED, or drawn and printed."""
    return pytestconfig.stash[seed_key]


@pytest.fixture
def rng(base_seed: int, request: pytest.FixtureRequest) -> Random:
    """Randomness of this test alone: the same for the same seed, whichever other tests run."""
    return Random(f"{base_seed} {request.node.nodeid}")


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether to take many minutes: more rounds and longer outages, as `make test-all` does."""
    return bool(pytestconfig.getoption("--slow"))


@pytest.fixture(scope="session")
def backends(pytestconfig: pytest.Config) -> Backends:
    """`backends.absent("kafka")` skips, or fails where kafka is required."""
    return pytestconfig.stash[backends_key]


@pytest.fixture
async def chromium(backends: Backends) -> AsyncIterator[Browser]:
    """A headless Chromium of this test alone."""
    from tests.support.browser import browser  # Playwright takes a while to load

    async with browser(backends.program("chromium")) as opened:
        yield opened


@pytest.fixture(scope="session")
def axe(backends: Backends) -> str:
    """The script that finds what keeps people out of a page: see tests/support/axe.py."""
    from tests.support import axe

    backends.program("node")
    return axe.script()


@pytest.fixture(scope="session")
def image(backends: Backends) -> str:
    """The image of this checkout, on an engine that answers."""
    backends.engine()
    return containers.built()
