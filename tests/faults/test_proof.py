"""What the page says that a stranger sees is what is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.backends import places, porcupine
from tests.support.backends import Backends
from tests.support.examples import clean_environment, run
from tests.support.results import ROOT

PAGE = ROOT / "docs" / "explanation" / "proof.md"


@pytest.mark.timeout(600)
def test_the_proof_can_be_followed(backends: Backends, tmp_path: Path) -> None:
    if not porcupine.here():
        backends.absent("porcupine")
    cache = {"XDG_CACHE_HOME": str(places.cache().parents[1])}
    run(PAGE.read_text(), tmp_path, clean_environment(tmp_path) | cache, 590, where=ROOT)
